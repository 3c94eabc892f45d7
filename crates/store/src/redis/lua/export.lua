-- What another store can take in, a page at a time.

-- A page ends behind so many bytes of jobs, and looks at so many numbers of intervals.
local BYTES_MAX, NUMBERS_MAX = 8388608, 5000

local function pairs_of(hash)
    local found, all = {}, call('HGETALL', hash)
    for at = 1, #all, 2 do
        found[#found + 1] = { all[at], all[at + 1] }
    end
    return found
end

local function signals_of(job)
    local found = {}
    for _, signal in ipairs(pairs_of(P .. 'signals:' .. job)) do
        local known = unpacked(call('HGET', P .. 'standing:' .. job, signal[1]))
        found[#found + 1] = { known.seq, signal[2], known.standing, absent(known.token) }
    end
    return found
end

local function checkpoints_of(job)
    local found, all = {}, call('ZRANGE', P .. 'images:' .. job, 0, -1, 'WITHSCORES')
    for at = 1, #all, 2 do
        found[#found + 1] = { all[at + 1], call('HGET', P .. 'checkpoint_records', all[at]) }
    end
    return found
end

function reads.export_jobs(after, limit)
    local found, bytes = {}, 0
    for _, id in ipairs(call('ZRANGEBYLEX', P .. 'ids', after, '+', 'LIMIT', 0, limit)) do
        if bytes > BYTES_MAX then
            return { '1', found }
        end
        local text = call('HMGET', job_key(id), 'r', 's', 'd', 'p')
        local request = stored(id).c.request
        found[#found + 1] = { { id, text[1], text[2], text[3], text[4] }, absent(request), absent(request and call('HGET', P .. 'keys', request)),
            checkpoints_of(id), pairs_of(P .. 'tokens:' .. id), call('GET', P .. 'output:' .. id), signals_of(id),
            call('HVALS', P .. 'waits:' .. id) }
        for at = 1, 4 do bytes = bytes + #(text[at] or '') end
    end
    return { '0', found }
end

function reads.export_audit(after, limit)
    local found = {}
    for _, record in ipairs(call('XRANGE', P .. 'audit', after, '+', 'COUNT', limit)) do
        local before, own = record[1]:match('^(%d+)-(%d+)$')
        local known = fields(record)
        found[#found + 1] = { before, own, known.t, known.e }
    end
    return found
end

-- With the number up to which was looked, where there are more behind it.
function reads.export_intervals(after, limit)
    local newest, ids, number = tonumber(call('HGET', P .. 'counts', 'ledger') or '0'), {}, tonumber(after)
    local last = math.min(newest, number + NUMBERS_MAX)
    while number < last and #ids < tonumber(limit) do
        number = number + 1
        local id = padded(number)
        if call('EXISTS', P .. 'interval:' .. id) == 1 then
            ids[#ids + 1] = id
        end
    end
    return { number < newest and plain(number), intervals(ids) }
end

local counted = {
    definitions = function() return call('HLEN', P .. 'definitions') end,
    jobs = function() return call('ZCARD', P .. 'ids') end,
    journal = function() return call('XLEN', P .. 'journal') end,
    audit = function() return call('XLEN', P .. 'audit') end,
    ledger = function() return call('ZCARD', P .. 'metered') + call('HLEN', P .. 'metering') end,
    schedules = function() return call('HLEN', P .. 'schedules') end,
    snapshots = function() return call('HLEN', P .. 'snapshots') end,
    cache = function() return call('HLEN', P .. 'cache') end,
}

function reads.count(section)
    return counted[section]()
end
