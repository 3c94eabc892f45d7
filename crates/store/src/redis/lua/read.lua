-- What is asked. Each answer is of one moment.

local reads = {}

-- Not nil, which would end a list.
local function absent(value)
    return value or false
end

local function record(id)
    local found = call('HMGET', job_key(id), 'r', 's', 'd')
    return found[1] and { id, found[1], found[2], found[3] } or nil
end

local function records(ids)
    local found = {}
    for _, id in ipairs(ids) do
        found[#found + 1] = record(id)
    end
    return found
end

function reads.jobs(...)
    local found = {}
    for _, id in ipairs({ ... }) do
        local job = record(id)
        if job then
            job[5] = call('HGET', job_key(id), 'p')
            found[#found + 1] = job
        end
    end
    return found
end

function reads.find(text, chars_are_enough)
    if call('EXISTS', job_key(text)) == 1 then
        return { text }
    end
    local named = call('HGET', P .. 'names', text)
    if named then
        return { named }
    end
    return chars_are_enough == '1' and beginning(P .. 'ids', text, 2) or {}
end

local function sorted(sets, command, from, to, limit, first)
    local found, seen = {}, {}
    for _, set in ipairs(sets) do
        for _, id in ipairs(call(command, P .. set, from, to, 'LIMIT', 0, limit)) do
            if not seen[id] then
                seen[id] = true
                found[#found + 1] = id
            end
        end
    end
    table.sort(found, first)
    local some = {}
    for at = 1, math.min(#found, tonumber(limit)) do
        some[at] = found[at]
    end
    return records(some)
end

-- Those in one of these sets below a place, the newest first; and those above it, the oldest first.
function reads.newest(before, limit, ...)
    return sorted({ ... }, 'ZREVRANGEBYLEX', before, '-', limit, function(one, other) return one > other end)
end

function reads.oldest(after, limit, ...)
    return sorted({ ... }, 'ZRANGEBYLEX', after, '+', limit, function(one, other) return one < other end)
end

function reads.named(name)
    local id = call('HGET', P .. 'names', name)
    return id and records({ id }) or {}
end

local function each_lane(take_lane)
    for _, member in ipairs(call('ZRANGE', P .. 'lanes', 0, -1)) do
        local queue, lane = member:match('^(.*)%z(%d+)$')
        take_lane(queue, tonumber(lane), lane_key(queue, lane))
    end
end

-- Numbers as texts, which are not negative.
local function at_most(number, limit)
    return not number or not limit or #number < #limit or (#number == #limit and number <= limit)
end

local LANE_SLEEPS_MIN, CHUNK, RESERVED_MS = 4, 64, 2000

-- Whether any other node may be asking what is due as well.
local function others_live(node, now)
    local all = node ~= '' and call('HGETALL', P .. 'leases') or {}
    for at = 1, #all, 2 do
        local till = unpacked(all[at + 1]).till
        if all[at] ~= node and till and tonumber(till) > now then
            return true
        end
    end
    return false
end

-- Keeps the jobs that one node is told of from the others for a while, so that they do not fight for the same ones.
local function reservations(node, now)
    if not others_live(node, now) then
        return function() return false end, function() end
    end
    local function is_anothers(id)
        local till = call('ZSCORE', P .. 'reserving', id)
        return till and tonumber(till) > now and call('HGET', P .. 'reserved', id) ~= node
    end
    local function reserve(id)
        call('ZADD', P .. 'reserving', now + RESERVED_MS, id)
        call('HSET', P .. 'reserved', id, node)
    end
    return is_anothers, reserve
end

function reads.due(packed)
    local ask, found = unpacked(packed), {}
    local is_anothers, reserve = reservations(ask.node, tonumber(ask.now))
    local function gate_of(queue, sleeps)
        if not sleeps and ask.nothing_begins then
            return { shut = true, but = {} }
        end
        local gates = ask.gates[queue]
        return gates and (sleeps and gates.wakes or gates.begins) or nil
    end
    each_lane(function(queue, lane, set)
        local gate, some, from = gate_of(queue, lane >= LANE_SLEEPS_MIN), 0, 0
        if gate and gate.shut then
            return
        end
        while some < ask.limit do
            local ids = call('ZRANGEBYSCORE', set, '-inf', ask.now, 'LIMIT', from, CHUNK)
            for _, id in ipairs(ids) do
                local columns = some < ask.limit and not is_anothers(id) and stored(id).c
                local key = columns and columns.concurrency_key
                if columns and not (gate and key and gate.but[key])
                    and at_most(columns.cpu_millis, ask.cpu_millis) and at_most(columns.memory_bytes, ask.memory_bytes) then
                    some = some + 1
                    reserve(id)
                    found[#found + 1] = { id, queue, plain(lane), columns.wake_at, absent(key), absent(columns.cpu_millis),
                        absent(columns.memory_bytes) }
                end
            end
            if #ids < CHUNK then
                return
            end
            from = from + CHUNK
        end
    end)
    return found
end

-- Also the end of what another node was told of: it may not have begun it.
local function reservation_ends(now, node)
    for _, id in ipairs(node ~= '' and call('ZRANGEBYSCORE', P .. 'reserving', '(' .. now, '+inf') or {}) do
        if call('HGET', P .. 'reserved', id) ~= node then
            return call('ZSCORE', P .. 'reserving', id)
        end
    end
end

function reads.next_wake(now, node)
    local earliest = reservation_ends(now, node)
    each_lane(function(_, _, set)
        local id = call('ZRANGEBYSCORE', set, '(' .. now, '+inf', 'LIMIT', 0, 1)[1]
        local at = id and stored(id).c.wake_at
        if at and (not earliest or tonumber(at) < tonumber(earliest)) then
            earliest = at
        end
    end)
    return absent(earliest)
end

function reads.leases()
    local found, all = {}, call('HGETALL', P .. 'leases')
    for at = 1, #all, 2 do
        local lease = unpacked(all[at + 1])
        if lease.till then
            found[#found + 1] = { all[at], call('HGET', P .. 'epochs', all[at]), lease.till, absent(lease.address) }
        end
    end
    return found
end

function reads.holder(id)
    local job = stored(id)
    return absent(job and job.c.node)
end

function reads.held()
    local found = {}
    for _, node in ipairs(call('HKEYS', P .. 'epochs')) do
        local count = call('ZCARD', P .. 'unsettled:' .. node)
        if count > 0 then
            found[#found + 1] = { node, count }
        end
    end
    return found
end

function reads.waiting(now)
    local found = {}
    each_lane(function(queue, lane, set)
        if lane < LANE_SLEEPS_MIN then
            found[#found + 1] = { queue, call('ZCOUNT', set, '-inf', now), call('ZCOUNT', set, '(' .. now, '+inf') }
        end
    end)
    return found
end

function reads.sleepers(queue)
    local found = {}
    for _, id in ipairs(call('ZRANGE', P .. 'asleep:' .. queue, 0, -1)) do
        found[#found + 1] = { id, absent(stored(id).c.concurrency_key) }
    end
    return found
end

function reads.expiring(limit)
    local found = {}
    for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'expiring', '-inf', '+inf', 'LIMIT', 0, limit)) do
        found[#found + 1] = { id, stored(id).c.expires_at }
    end
    return found
end

-- By the place in the question.
function reads.holders(packed)
    local found = {}
    for place, unique in ipairs(unpacked(packed)) do
        for _, state in ipairs(unique.states) do
            local holder = call('ZRANGE', unique_key(unique.key, state), 0, 0)[1]
            if holder then
                found[#found + 1] = { plain(place - 1), holder }
                break
            end
        end
    end
    return found
end

local ended = { completed = true, failed = true, cancelled = true }

function reads.ended_before_followers()
    local found = {}
    for _, id in ipairs(call('ZRANGE', P .. 'followed', 0, -1)) do
        local job = stored(id)
        if not job or ended[job.c.state] then
            found[#found + 1] = id
        end
    end
    return found
end

function reads.batch(batch, ...)
    local found = {}
    for _, state in ipairs({ ... }) do
        local count = call('ZCARD', batch_key(batch, state))
        if count > 0 then
            found[#found + 1] = { state, count }
        end
    end
    return found
end

function reads.turns()
    local found = {}
    for _, queue in ipairs(call('ZRANGE', P .. 'turning', 0, -1)) do
        for _, turn in ipairs(call('ZRANGE', P .. 'turns:' .. queue, 0, -1)) do
            local at, rest = turn:match('^%d+:(%-?%d+)(.*)$')
            found[#found + 1] = { queue, at, rest ~= '' and rest:sub(2) }
        end
    end
    return found
end

function reads.checkpoints(job)
    local found = {}
    for _, id in ipairs(call('ZRANGE', P .. 'images:' .. job, 0, -1)) do
        found[#found + 1] = call('HGET', P .. 'checkpoint_records', id)
    end
    return found
end

function reads.signal_for(job, name, token)
    local function signal(set, from)
        local member = beginning(P .. set .. ':' .. job, from, 1)[1]
        -- Behind what was asked for: 16 digits and a colon.
        return member and call('HGET', P .. 'signals:' .. job, member:sub(#from + 18))
    end
    local taken = signal('takers', join(token, 't:'))
    if taken then
        return { 'taken', taken }
    end
    local waits = signal('takers', join(token, 'w:' .. join(name, ''))) or signal('inbox', join(name, ''))
    return waits and { 'waiting', waits } or {}
end

local function entries(ids)
    local found = {}
    for _, entry in ipairs(ids) do
        local known = fields(entry)
        found[#found + 1] = { entry[1]:match('^%d+'), known.j, known.t, known.e }
    end
    return found
end

local function entries_after(seq, limit, job)
    if not job then
        return entries(call('XRANGE', P .. 'journal', '(' .. seq .. '-18446744073709551615', '+', 'COUNT', limit))
    end
    local found = {}
    for _, own in ipairs(call('ZRANGEBYSCORE', P .. 'entries:' .. job, '(' .. seq, '+inf', 'LIMIT', 0, limit)) do
        found[#found + 1] = call('XRANGE', P .. 'journal', own, own)[1]
    end
    return entries(found)
end

function reads.journal(seq, limit, job)
    return entries_after(seq, limit, job)
end

-- Both streams behind a place.
function reads.history(seq, audit_number, limit, job)
    local audits = {}
    if not job then
        for _, record in ipairs(call('XRANGE', P .. 'audit', '(' .. seq .. '-' .. audit_number, '+', 'COUNT', limit)) do
            local after, own = record[1]:match('^(%d+)-(%d+)$')
            local known = fields(record)
            audits[#audits + 1] = { after, own, known.t, known.e }
        end
    end
    return { entries_after(seq, limit, job), audits }
end

-- A place such that all that was recorded since then comes behind it: positions are in the order of times as good as always, so that
-- halving finds it.
function reads.place_before(since)
    local low, high = 0, tonumber(call('HGET', P .. 'counts', 'journal') or '0')
    while low < high do
        local middle = math.floor((low + high) / 2)
        local entry = call('XRANGE', P .. 'journal', plain(middle), '+', 'COUNT', 1)[1]
        if entry and tonumber(fields(entry).t) < tonumber(since) then
            low = middle + 1
        else
            high = middle
        end
    end
    return plain(math.max(low - 1, 0))
end

function reads.oldest_records()
    local found = {}
    for _, stream in ipairs({ 'journal', 'audit' }) do
        local first = call('XRANGE', P .. stream, '-', '+', 'COUNT', 1)[1]
        if first then
            found[#found + 1] = fields(first).t
        end
    end
    return found
end

local function intervals(ids)
    local found = {}
    for _, id in ipairs(ids) do
        local known = call('HMGET', P .. 'interval:' .. id, 'i', 'f', 't', 'u', 'c', 'b', 'l')
        if known[1] then
            table.insert(known, 1, id)
            found[#found + 1] = known
        end
    end
    return found
end

function reads.intervals(owner_kind, owner)
    return intervals(call('ZRANGE', P .. 'used:' .. owner_kind .. ':' .. owner, 0, -1))
end

-- Those that are open, and the number of the newest.
function reads.open_intervals()
    return { call('HGET', P .. 'counts', 'ledger') or '0', intervals(call('HVALS', P .. 'metering')) }
end

-- A page of those that ended after a moment, behind one of them.
function reads.closed_intervals(since, last, last_to, limit)
    local from = last ~= '' and call('ZRANK', P .. 'metered', last)
    if last == '' then
        from = call('ZCOUNT', P .. 'metered', '-inf', since)
    elseif from then
        from = from + 1
    else
        -- It was pruned meanwhile, with all that ended before it.
        from = call('ZCOUNT', P .. 'metered', '-inf', '(' .. last_to)
    end
    return intervals(call('ZRANGE', P .. 'metered', from, from + limit - 1))
end

function reads.ledger_oldest()
    local id = call('ZRANGEBYSCORE', P .. 'metered', '(0', '+inf', 'LIMIT', 0, 1)[1]
    return id and call('HGET', P .. 'interval:' .. id, 't') or false
end

local function texts(hash, names)
    return #names > 0 and call('HMGET', P .. hash, unpack(names)) or {}
end

function reads.definitions(after, limit)
    return texts('definitions', call('ZRANGEBYLEX', P .. 'definition_ids', after, '+', 'LIMIT', 0, limit))
end

function reads.definitions_of(name, after, limit)
    return texts('definitions', call('ZRANGEBYLEX', P .. 'definition_ids', after, '(' .. name .. '\1', 'LIMIT', 0, limit))
end

function reads.versions(name)
    local found = {}
    for _, id in ipairs(beginning(P .. 'definition_ids', name .. '\0', -1)) do
        found[#found + 1] = id:sub(#name + 2)
    end
    return found
end

function reads.schedules(after, limit)
    return texts('schedules', call('ZRANGEBYLEX', P .. 'schedule_names', after, '+', 'LIMIT', 0, limit))
end

function reads.due_schedules(now, limit)
    return texts('schedules', call('ZRANGEBYSCORE', P .. 'firing', '-inf', now, 'LIMIT', 0, limit))
end

function reads.next_schedule()
    return absent(call('ZRANGE', P .. 'firing', 0, 0, 'WITHSCORES')[2])
end

function reads.access()
    return { call('HVALS', P .. 'access'), call('HGETALL', P .. 'access_used') }
end
