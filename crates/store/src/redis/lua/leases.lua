-- Leases: who acts, under which epoch, until when. What a write answers beside a refusal begins with `done`.

local function lease_of(node)
    local found = call('HGET', P .. 'leases', node)
    return found and unpacked(found) or {}
end

local function put_lease(node, lease)
    call('HSET', P .. 'leases', node, pack(lease))
end

function writes.take_lease(w)
    local epoch = plain(call('HINCRBY', P .. 'epochs', w.node, 1))
    put_lease(w.node, { till = w.till, address = w.address })
    return { 'done', epoch }
end

function writes.renew_lease(w)
    local lease = lease_of(ME)
    lease.till = w.till
    put_lease(ME, lease)
end

-- What still holds something may be taken over at once; any other is forgotten, but for its epoch.
function writes.release_lease()
    local lease = lease_of(ME)
    lease.till = call('EXISTS', P .. 'unsettled:' .. ME) == 1 and '0' or nil
    put_lease(ME, lease)
end

function writes.take_over(w)
    local node, lease = w.node, lease_of(w.node)
    if node == ME then
        return { 'rule', 'nobody takes over from itself' }
    end
    local is_over = lease.till and tonumber(lease.till) <= tonumber(w.now)
    if call('HGET', P .. 'epochs', node) ~= w.epoch or not is_over then
        return { 'lease_changed', node }
    end
    call('HINCRBY', P .. 'epochs', node, 1)
    lease.till = nil
    put_lease(node, lease)
    local jobs = call('ZRANGE', P .. 'unsettled:' .. node, 0, -1)
    local answer = { 'done' }
    for _, id in ipairs(jobs) do
        local before, after = stored(id).c, stored(id).c
        after.node = ME
        index(id, before, after)
        call('HSET', job_key(id), 'c', pack(after))
        noticed(id, before, after)
        answer[#answer + 1] = id
    end
    return answer
end
