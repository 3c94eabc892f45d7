-- The signals of a job: each waits ('w'), was taken since the last checkpoint ('t'), or before it ('s').

local signals = {}

-- By name, those that wait; the oldest first.
local function inbox_member(id, known)
    return join(known.name, known.seq .. ':' .. id)
end

-- By the token that took one, or had it before a rollback gave it back.
local function taker_member(id, known)
    local own = known.seq .. ':' .. id
    if known.standing == 'w' then
        return join(known.token, 'w:' .. join(known.name, own))
    end
    return join(known.token, 't:' .. own)
end

local function known_signal(job, id)
    local found = call('HGET', P .. 'standing:' .. job, id)
    return found and unpacked(found) or nil
end

local function set_standing(job, id, known, standing, token)
    local inbox, takers, taken = P .. 'inbox:' .. job, P .. 'takers:' .. job, P .. 'taken:' .. job
    if known.standing == 'w' then take(inbox, inbox_member(id, known)) end
    if known.standing == 't' then call('SREM', taken, id) end
    if known.token then take(takers, taker_member(id, known)) end
    known.standing, known.token = standing, token
    if standing == 'w' then put(inbox, 0, inbox_member(id, known)) end
    if standing == 't' then call('SADD', taken, id) end
    if token then put(takers, 0, taker_member(id, known)) end
    call('HSET', P .. 'standing:' .. job, id, pack(known))
end

function signals.signal(job, k)
    if call('HSETNX', P .. 'signals:' .. job, k.id, k.text) == 0 then
        return
    end
    local seq = padded(call('HINCRBY', P .. 'counts', 'signals', 1))
    set_standing(job, k.id, { name = k.name, seq = seq }, 'w', nil)
end

function signals.signal_taken(job, k)
    set_standing(job, k.id, known_signal(job, k.id), 't', k.token)
end

local function each_taken(job, standing)
    for _, id in ipairs(call('SMEMBERS', P .. 'taken:' .. job)) do
        local known = known_signal(job, id)
        set_standing(job, id, known, standing, known.token)
    end
end

function signals.signals_sealed(job)
    each_taken(job, 's')
end

function signals.signals_freed(job)
    each_taken(job, 'w')
end

function signals.begun_anew(job)
    call('DEL', P .. 'output:' .. job, P .. 'waits:' .. job)
    local all = call('HKEYS', P .. 'standing:' .. job)
    for _, id in ipairs(all) do
        local known = known_signal(job, id)
        if known.token then
            set_standing(job, id, known, 'w', nil)
        end
    end
end

-- What these steps make of how a signal stands.
local after_step = {
    signals_sealed = { t = 's' },
    signals_freed = { t = 'w' },
    begun_anew = { t = 'w', s = 'w' },
}

-- Whether each signal that a change takes waits by then, before anything is written.
function signals.check(job, kept)
    local stands, steps = {}, {}
    local function standing(id)
        local known = stands[id]
        if not known then
            local found = known_signal(job, id)
            known = { found and found.standing, 0 }
        end
        local now = known[1]
        for at = known[2] + 1, #steps do
            now = now and (after_step[steps[at]][now] or now)
        end
        return now
    end
    for _, k in ipairs(kept) do
        if k.kept == 'signal' then
            stands[k.id] = { standing(k.id) or 'w', #steps }
        elseif k.kept == 'signal_taken' then
            if standing(k.id) ~= 'w' then
                return { 'rule', 'the signal ' .. k.id .. ' of job ' .. job .. ' does not wait to be taken' }
            end
            stands[k.id] = { 't', #steps }
        elseif after_step[k.kept] then
            steps[#steps + 1] = k.kept
        end
    end
end
