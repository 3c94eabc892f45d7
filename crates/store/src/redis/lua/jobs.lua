-- Jobs: made, changed, removed. Everything is asked first: what was written is not taken back.

-- What a batch of new jobs would have taken so far.
local function nothing_taken()
    return { ids = {}, keys = {}, names = {}, unique = {} }
end

local function check_pointers(id, columns, now, brings)
    local checkpoint, sandbox = columns.checkpoint, columns.sandbox
    if checkpoint and checkpoint ~= brings and not (now and now.checkpoint == checkpoint)
        and call('HEXISTS', P .. 'checkpoints', checkpoint) == 0 then
        return { 'rule', 'the record of job ' .. id .. ' points to the checkpoint ' .. checkpoint .. ', which is not there' }
    end
    if sandbox and not (now and now.sandbox == sandbox) then
        local owner = call('HGET', P .. 'sandboxes', sandbox)
        if owner and owner ~= id then
            return { 'rule', 'the sandbox ' .. sandbox .. ' belongs to job ' .. owner .. ', not to ' .. id }
        end
    end
end

local function check_unique(unique, taken)
    for _, state in ipairs(unique.states) do
        local set = unique_key(unique.key, state)
        local holder = taken.unique[set] or call('ZRANGE', set, 0, 0)[1]
        if holder then
            return { 'unique', unique.key, holder }
        end
    end
end

local function check_new(new, taken)
    local found = taken.ids[new.id] and '1' or call('HGET', job_key(new.id), 'v')
    if found then
        return { 'conflict', new.id, '0', found }
    end
    if new.key then
        local used = taken.keys[new.key] or call('HGET', P .. 'keys', new.key)
        if used then
            return { 'key', new.key, used }
        end
    end
    if new.name then
        local holder = taken.names[new.name] or call('HGET', P .. 'names', new.name)
        if holder then
            return { 'name', new.name, holder }
        end
    end
    if new.parent and not taken.ids[new.parent] then
        local parent = stored(new.parent)
        if not parent then
            return { 'not_found', new.parent }
        end
        if parent.c.ends_children then
            return { 'parent_ending', new.parent }
        end
    end
    local refused = new.unique and check_unique(new.unique, taken)
    if refused then
        return refused
    end
    if new.shares and not is_referenced(new.shares.folder) then
        return { 'unreferenced', new.shares.folder }
    end
    refused = check_pointers(new.id, new.columns, nil, new.shares and new.shares.id)
    if refused then
        return refused
    end
    local columns = new.columns
    taken.ids[new.id] = true
    if new.key then taken.keys[new.key] = new.id .. '\0' .. new.digest end
    if new.name then taken.names[new.name] = new.id end
    if columns.unique then taken.unique[unique_key(columns.unique, columns.state)] = new.id end
end

local function check_all_new(all)
    local taken = nothing_taken()
    for _, new in ipairs(all) do
        local refused = check_new(new, taken)
        if refused then
            return refused
        end
    end
end

-- A job that was not here, with what it is found by.
local function put_job(new, version, node)
    local id, columns, key = new.id, new.columns, job_key(new.id)
    columns.node = node
    columns.request, columns.name, columns.parent, columns.tags = new.key, new.name, new.parent, new.tags
    call('HSET', key, 'v', version, 'c', pack(columns), 'r', new.record, 's', new.spec)
    if new.params then
        call('HSET', key, 'p', new.params)
    end
    put(P .. 'ids', 0, id)
    index(id, nil, columns)
    index_tags(id, new.tags, true)
    if new.name then call('HSET', P .. 'names', new.name, id) end
    if new.key then call('HSET', P .. 'keys', new.key, id .. '\0' .. new.digest) end
    if new.parent then put(P .. 'children:' .. new.parent, 0, id) end
    for _, other in ipairs(new.blocked_by) do
        put(P .. 'followers:' .. other, 0, id)
        put(P .. 'followed', 0, other)
        call('SADD', P .. 'blockers:' .. id, other)
    end
end

-- The row of a job that shares the folder of another one's is named by both.
local function put_checkpoint(id, checkpoint)
    if call('HSETNX', P .. 'checkpoints', checkpoint.id, id) == 1 then
        put(P .. 'images:' .. id, call('HINCRBY', P .. 'counts', 'checkpoints', 1), checkpoint.id)
        if checkpoint.folder then call('SADD', P .. 'sharing:' .. checkpoint.folder, id) end
    end
    call('HSET', P .. 'checkpoint_records', checkpoint.id, checkpoint.text)
end

local function forget_checkpoint(id, name)
    call('HDEL', P .. 'checkpoints', name)
    call('HDEL', P .. 'checkpoint_records', name)
    local folder = name:match('^(.-)@')
    if folder then call('SREM', P .. 'sharing:' .. folder, id) end
end

local function put_new(new)
    put_job(new, '1', holder_of(new.columns))
    if new.shares then put_checkpoint(new.id, new.shares) end
    journal(new.id, new.entry)
    noticed(new.id, nil, new.columns)
end

local function unfollow(id, other)
    local followers = P .. 'followers:' .. other
    take(followers, id)
    call('SREM', P .. 'blockers:' .. id, other)
    if call('EXISTS', followers) == 0 then
        take(P .. 'followed', other)
    end
end

local function check_change(change, found)
    local id = change.id
    if not found then
        return { 'not_found', id }
    end
    if found.v ~= change.expected then
        return { 'conflict', id, change.expected, found.v }
    end
    local refused = check_held(id, found.c)
    if refused then
        return refused
    end
    local checkpoint = change.checkpoint and change.checkpoint.id
    if checkpoint then
        local owner = call('HGET', P .. 'checkpoints', checkpoint)
        if owner and owner ~= id then
            return { 'rule', 'checkpoint ' .. checkpoint .. ' belongs to another job than ' .. id }
        end
    end
    return check_pointers(id, change.columns, found.c, checkpoint) or signals.check(id, change.kept)
end

local keep = {
    signal = signals.signal,
    signal_taken = signals.signal_taken,
    signals_sealed = signals.signals_sealed,
    signals_freed = signals.signals_freed,
    begun_anew = signals.begun_anew,
}

function keep.output(id, k)
    call('SET', P .. 'output:' .. id, k.text)
end

function keep.wait(id, k)
    call('HSET', P .. 'waits:' .. id, k.token, k.text)
end

function keep.described(id, k, columns)
    call('HSET', job_key(id), 'd', k.text)
    index_tags(id, columns.tags, false)
    columns.tags = k.tags
    index_tags(id, columns.tags, true)
end

function keep.opened(_, k) ledger.opened(k) end

function keep.closed(_, k) ledger.closed(k) end

function keep.relabelled(_, k) ledger.relabelled(k) end

function keep.unblocked(id, k) unfollow(id, k.by) end

local function put_turn(queue, turn)
    local number = padded(call('HINCRBY', P .. 'counts', 'turns', 1))
    put(P .. 'turns:' .. queue, turn.at, number .. ':' .. turn.at .. (turn.key and ('=' .. turn.key) or ''))
    put(P .. 'turning', 0, queue)
end

function keep.turn(_, k)
    call('ZREMRANGEBYSCORE', P .. 'turns:' .. k.queue, '-inf', '(' .. k.forget_before)
    put_turn(k.queue, k)
end

local function forget_tokens(id, which)
    local tokens = P .. 'tokens:' .. id
    if which == 'all' then
        call('DEL', tokens)
    elseif which == 'requested' then
        local all = call('HGETALL', tokens)
        for at = 1, #all, 2 do
            if all[at + 1]:sub(1, 12) == '["requested"' then
                call('HDEL', tokens, all[at])
            end
        end
    end
end

local function put_change(change, found)
    local id, before = change.id, found.c
    if change.checkpoint then
        put_checkpoint(id, change.checkpoint)
    end
    local columns = {}
    for name, value in pairs(before) do columns[name] = value end
    -- What a change does not name it makes absent.
    for _, name in ipairs({ 'wake_at', 'expires_at', 'ends_children', 'sandbox', 'checkpoint' }) do
        columns[name] = nil
    end
    for name, value in pairs(change.columns) do columns[name] = value end
    columns.node = holder_of(columns)
    index(id, before, columns)
    forget_tokens(id, change.forget_tokens)
    if change.token then
        call('HSET', P .. 'tokens:' .. id, change.token.token, change.token.text)
    end
    for _, k in ipairs(change.kept) do
        keep[k.kept](id, k, columns)
    end
    call('HSET', job_key(id), 'v', change.version, 'c', pack(columns), 'r', change.record)
    if change.entry then
        journal(id, change.entry)
    end
    noticed(id, before, columns)
end

local writes = {}

function writes.create(w)
    local refused = check_all_new(w.jobs)
    if refused then
        return refused
    end
    for _, new in ipairs(w.jobs) do
        put_new(new)
    end
end

function writes.commit(w)
    local found = stored(w.change.id)
    local refused = check_change(w.change, found)
    if refused then
        return refused
    end
    put_change(w.change, found)
end

-- New jobs, of which some begin in the same moment.
function writes.begin(w)
    local refused, made, sandboxes = check_all_new(w.jobs), {}, {}
    if refused then
        return refused
    end
    for _, new in ipairs(w.jobs) do
        made[new.id] = { v = '1', c = new.columns }
    end
    for _, change in ipairs(w.changes) do
        local sandbox = change.columns.sandbox
        if sandbox and sandboxes[sandbox] then
            return { 'rule', 'the sandbox ' .. sandbox .. ' belongs to job ' .. sandboxes[sandbox] .. ', not to ' .. change.id }
        end
        sandboxes[sandbox or ''] = sandbox and change.id
        refused = check_change(change, made[change.id])
        if refused then
            return refused
        end
    end
    for _, new in ipairs(w.jobs) do
        put_new(new)
    end
    for _, change in ipairs(w.changes) do
        put_change(change, made[change.id])
    end
end

function writes.drop_checkpoint(w)
    for _, name in ipairs(w.names) do
        if call('ZSCORE', P .. 'pointing:' .. name, w.job) then
            return { 'conflict', w.job, '0', call('HGET', job_key(w.job), 'v') }
        end
    end
    for _, name in ipairs(w.names) do
        if call('HGET', P .. 'checkpoints', name) == w.job then
            forget_checkpoint(w.job, name)
            take(P .. 'images:' .. w.job, name)
        end
    end
end

local ended = { completed = true, failed = true, cancelled = true }

local function check_removal(w, found)
    local id = w.id
    if not found then
        return { 'not_found', id }
    end
    if found.v ~= w.version or not ended[found.c.state] then
        return { 'conflict', id, w.version, found.v }
    end
    local refused = check_held(id, found.c)
    if refused then
        return refused
    end
    for _, checkpoint in ipairs(call('ZRANGE', P .. 'images:' .. id, 0, -1)) do
        for _, holder in ipairs(call('ZRANGE', P .. 'pointing:' .. checkpoint, 0, 1)) do
            if holder ~= id then
                return { 'rule', 'the record of job ' .. holder .. ' points to the checkpoint ' .. checkpoint .. ' of job ' .. id }
            end
        end
    end
end

function writes.remove(w)
    local id, found = w.id, stored(w.id)
    local refused = check_removal(w, found)
    if refused then
        return refused
    end
    local columns = found.c
    index(id, columns, nil)
    index_tags(id, columns.tags, false)
    take(P .. 'ids', id)
    if columns.name then call('HDEL', P .. 'names', columns.name) end
    if columns.request then call('HDEL', P .. 'keys', columns.request) end
    if columns.parent then take(P .. 'children:' .. columns.parent, id) end
    for _, other in ipairs(call('SMEMBERS', P .. 'blockers:' .. id)) do
        unfollow(id, other)
    end
    for _, checkpoint in ipairs(call('ZRANGE', P .. 'images:' .. id, 0, -1)) do
        forget_checkpoint(id, checkpoint)
    end
    for _, seq in ipairs(call('ZRANGE', P .. 'entries:' .. id, 0, -1)) do
        call('XDEL', P .. 'journal', seq .. '-0')
    end
    local own = { job_key(id) }
    for _, what in ipairs({ 'entries', 'images', 'tokens', 'output', 'waits', 'signals', 'standing', 'inbox', 'takers', 'taken',
        'blockers' }) do
        own[#own + 1] = P .. what .. ':' .. id
    end
    call('DEL', unpack(own))
    noticed(id, columns, nil)
end
