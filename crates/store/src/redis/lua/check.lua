-- Whether what jobs are found by agrees with them.

local function is_member(set, id, score)
    local found = call('ZSCORE', P .. set, id)
    return found and (not score or tonumber(found) == tonumber(score))
end

-- The sets and fields that should lead to a job, and do not.
local function lacking(id, c)
    local lacks = {}
    local function expect(is_there, what)
        if not is_there then lacks[#lacks + 1] = what end
    end
    expect(is_member('state:' .. c.state, id), 'state:' .. c.state)
    if c.batch then expect(is_member('batch:' .. c.state .. ':' .. c.batch, id), 'batch') end
    if c.unique then expect(is_member('unique:' .. c.state .. ':' .. c.unique, id), 'unique') end
    if c.wake_at then
        expect(is_member('due:' .. c.lane .. ':' .. c.queue, id, c.wake_at), 'due')
        expect(is_member('lanes', lane_member(c)), 'lanes')
    end
    if c.waits and c.expires_at then expect(is_member('expiring', id, c.expires_at), 'expiring') end
    if c.waits and c.state == 'suspended' then expect(is_member('asleep:' .. c.queue, id), 'asleep') end
    if c.unsettled then expect(is_member('unsettled:' .. (c.node or ''), id), 'unsettled') end
    if c.checkpoint then
        expect(is_member('pointing:' .. c.checkpoint, id), 'pointing')
        expect(call('HEXISTS', P .. 'checkpoints', c.checkpoint) == 1, 'checkpoints')
    end
    if c.sandbox then expect(call('HGET', P .. 'sandboxes', c.sandbox) == id, 'sandboxes') end
    if c.name then expect(call('HGET', P .. 'names', c.name) == id, 'names') end
    if c.parent then expect(is_member('children:' .. c.parent, id), 'children') end
    for _, tag in ipairs(c.tags or {}) do
        expect(is_member('tag:' .. join(tag[1], tag[2]), id), 'tag')
    end
    return lacks
end

function reads.check_jobs(after, limit)
    local found = {}
    for _, id in ipairs(call('ZRANGEBYLEX', P .. 'ids', after, '+', 'LIMIT', 0, limit)) do
        local job = stored(id)
        if job then
            local text = call('HMGET', job_key(id), 'r', 's', 'd', 'p')
            -- JSON is made of the scripts' own columns to be looked at, and never stored.
            found[#found + 1] = { id, { id, text[1], text[2], text[3], text[4] }, job.v, cjson.encode(job.c), lacking(id, job.c) }
        else
            found[#found + 1] = { id, false, false, false, {} }
        end
    end
    return found
end

-- The members of a set from a place on that are not what it says: `field` of a job has this value.
function reads.check_set(set, from, limit, field, value)
    local members, wrong = call('ZRANGE', P .. set, from, from + limit - 1), {}
    for _, id in ipairs(members) do
        local job = stored(id)
        if not job or tostring(job.c[field] or '') ~= value then
            wrong[#wrong + 1] = id
        end
    end
    return { #members, wrong }
end

function reads.check_lanes()
    local found = {}
    each_lane(function(queue, lane)
        found[#found + 1] = { 'due:' .. plain(lane) .. ':' .. queue, plain(lane) }
    end)
    return found
end

function reads.check_numbers()
    local found = {}
    for _, of in ipairs({ { 'journal', '^%d+' }, { 'audit', '%d+$' } }) do
        local newest = call('XREVRANGE', P .. of[1], '+', '-', 'COUNT', 1)[1]
        local given = tonumber(call('HGET', P .. 'counts', of[1]) or '0')
        if newest and tonumber(newest[1]:match(of[2])) > given then
            found[#found + 1] = { of[1], newest[1], plain(given) }
        end
    end
    return found
end
