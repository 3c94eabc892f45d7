-- The ledger: who used what from when to when. An interval that is closed never changes.

local function open_field(owner_kind, owner, kind)
    return kind .. ':' .. owner_kind .. ':' .. owner
end

local function owner_key(interval)
    return P .. 'used:' .. interval.owner_kind .. ':' .. interval.owner
end

local function later(one, other)
    if tonumber(one) >= tonumber(other) then
        return one
    end
    return other
end

local function new_interval(owner, from)
    local id = padded(call('HINCRBY', P .. 'counts', 'ledger', 1))
    call('ZADD', owner, from, id)
    return id, P .. 'interval:' .. id
end

local ledger = {}

function ledger.opened(k)
    local field = open_field(k.owner_kind, k.owner, k.kind)
    if call('HEXISTS', P .. 'metering', field) == 1 then
        return
    end
    local owner = owner_key(k)
    local id, interval = new_interval(owner, k.from)
    call('HSET', interval, 'o', owner, 'i', k.text, 'f', k.from)
    call('HSET', P .. 'metering', field, id)
end

function ledger.closed(k)
    local field = open_field(k.owner_kind, k.owner, k.kind)
    local id = call('HGET', P .. 'metering', field)
    if not id then
        return
    end
    local interval = P .. 'interval:' .. id
    local to = later(k.to, call('HGET', interval, 'f'))
    call('HSET', interval, 't', to, 'b', k.closed_by)
    if k.used then
        call('HSET', interval, 'u', k.used)
    end
    call('HDEL', P .. 'metering', field)
    call('ZADD', P .. 'metered', to, id)
end

-- What was used so far stays under the old labels.
function ledger.relabelled(k)
    local owner = owner_key(k)
    for _, kind in ipairs(k.kinds) do
        local id = call('HGET', P .. 'metering', open_field(k.owner_kind, k.owner, kind))
        if id then
            local going = P .. 'interval:' .. id
            local now = call('HMGET', going, 'i', 'f', 'c', 'l')
            local at = later(k.at, now[2])
            local before, closed = new_interval(owner, now[2])
            call('HSET', closed, 'o', owner, 'i', now[1], 'f', now[2], 't', at, 'b', 'relabelled')
            if now[3] then call('HSET', closed, 'c', now[3]) end
            if now[4] then call('HSET', closed, 'l', now[4]) end
            call('ZADD', P .. 'metered', at, before)
            call('HSET', going, 'f', at, 'c', 'relabelled', 'l', k.labels)
            call('ZADD', owner, at, id)
        end
    end
end

-- All that ended in one moment go together.
function ledger.pruned(before, about)
    local nth = call('ZRANGEBYSCORE', P .. 'metered', '-inf', '(' .. before, 'WITHSCORES', 'LIMIT', about, 1)
    local bound = nth[2] or before
    local old = call('ZRANGEBYSCORE', P .. 'metered', '-inf', '(' .. bound)
    for _, id in ipairs(old) do
        local interval = P .. 'interval:' .. id
        call('ZREM', call('HGET', interval, 'o'), id)
        call('DEL', interval)
        call('ZREM', P .. 'metered', id)
    end
end
