-- What jobs are found by. `before` and `after` are their columns; one of them is absent where a job comes or goes.

local function put(set, score, member)
    call('ZADD', set, score, member)
end

local function take(set, member)
    call('ZREM', set, member)
end

-- A set that holds a job while it has a value: nothing is done where that stays.
local function moved(id, from, to, set_of)
    if from == to then
        return
    end
    if from then
        take(set_of(from), id)
    end
    if to then
        put(set_of(to), 0, id)
    end
end

local function state_of(columns)
    return columns and columns.state
end

local function index_state(id, before, after)
    local from, to = state_of(before), state_of(after)
    if from == to then
        return
    end
    local kept = after or before
    moved(id, from, to, function(state) return P .. 'state:' .. state end)
    if kept.batch then
        moved(id, from, to, function(state) return batch_key(kept.batch, state) end)
    end
    if kept.unique then
        moved(id, from, to, function(state) return unique_key(kept.unique, state) end)
    end
end

-- A lane is listed while anybody waits in it.
local function index_due(id, before, after)
    local from, to = before and before.wake_at, after and after.wake_at
    if from and not (to and before.lane == after.lane) then
        local lane = lane_key(before.queue, before.lane)
        take(lane, id)
        if call('EXISTS', lane) == 0 then
            take(P .. 'lanes', lane_member(before))
        end
    end
    if to and not (from == to and before.lane == after.lane) then
        put(lane_key(after.queue, after.lane), to, id)
        if not from or before.lane ~= after.lane then
            put(P .. 'lanes', 0, lane_member(after))
        end
    end
end

local function expires(columns)
    return columns and columns.waits and columns.expires_at or nil
end

local function index_waiting(id, before, after)
    local from, to = expires(before), expires(after)
    if from and not to then
        take(P .. 'expiring', id)
    elseif to and from ~= to then
        put(P .. 'expiring', to, id)
    end
    local function sleeps(columns)
        return columns and columns.waits and columns.state == 'suspended' and columns.queue or nil
    end
    moved(id, sleeps(before), sleeps(after), function(queue) return P .. 'asleep:' .. queue end)
end

local function index_holder(id, before, after)
    local function holder(columns)
        return columns and columns.unsettled and (columns.node or '') or nil
    end
    moved(id, holder(before), holder(after), function(node) return P .. 'unsettled:' .. node end)
end

local function index_pointers(id, before, after)
    local function of(columns, name) return columns and columns[name] end
    local from, to = of(before, 'sandbox'), of(after, 'sandbox')
    if from ~= to then
        if from then call('HDEL', P .. 'sandboxes', from) end
        if to then call('HSET', P .. 'sandboxes', to, id) end
    end
    moved(id, of(before, 'checkpoint'), of(after, 'checkpoint'), function(checkpoint)
        return P .. 'pointing:' .. checkpoint
    end)
end

local function index(id, before, after)
    index_state(id, before, after)
    index_due(id, before, after)
    index_waiting(id, before, after)
    index_holder(id, before, after)
    index_pointers(id, before, after)
end

local function index_tags(id, tags, set)
    for _, tag in ipairs(tags or {}) do
        if set then
            put(tag_key(tag[1], tag[2]), 0, id)
        else
            take(tag_key(tag[1], tag[2]), id)
        end
    end
end
