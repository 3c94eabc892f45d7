-- What is not a job: definitions, schedules, queues, tokens for callers, daemons, and forgetting what is old.

local DAEMONS_KEPT = 100

function writes.define(w)
    if call('HSETNX', P .. 'definitions', w.id, w.text) == 0 then
        return { 'defined', w.id }
    end
    put(P .. 'definition_ids', 0, w.id)
end

function writes.undefine(w)
    if call('HDEL', P .. 'definitions', w.id) == 0 then
        return { 'not_found', w.called }
    end
    take(P .. 'definition_ids', w.id)
end

local function put_schedule(w)
    call('HSET', P .. 'schedules', w.name, w.text)
    call('HSET', P .. 'schedule_versions', w.name, w.version)
    put(P .. 'schedule_names', 0, w.name)
    if w.due_at then
        put(P .. 'firing', w.due_at, w.name)
    else
        take(P .. 'firing', w.name)
    end
end

function writes.add_schedule(w)
    local schedule = w.schedule
    if call('HEXISTS', P .. 'schedules', schedule.name) == 1 then
        return { 'schedule_exists', schedule.name }
    end
    put_schedule(schedule)
end

function writes.change_schedule(w)
    local found = call('HGET', P .. 'schedule_versions', w.schedule.name)
    if not found then
        return { 'not_found', w.schedule.name }
    end
    if found ~= w.expected then
        return { 'schedule_changed', w.schedule.name }
    end
    local refused = writes.create(w)
    if refused then
        return refused
    end
    put_schedule(w.schedule)
end

function writes.remove_schedule(w)
    if call('HDEL', P .. 'schedules', w.name) == 0 then
        return { 'not_found', w.name }
    end
    call('HDEL', P .. 'schedule_versions', w.name)
    take(P .. 'schedule_names', w.name)
    take(P .. 'firing', w.name)
end

function writes.set_queue(w)
    changes_settings = true
    call('HSET', P .. 'queues', w.name, w.text)
end

function writes.remove_queue(w)
    if call('HDEL', P .. 'queues', w.name) == 0 then
        return { 'not_found', w.name }
    end
    changes_settings = true
end

function writes.add_access(w)
    if call('HSETNX', P .. 'access', w.id, w.text) == 0 then
        return { 'rule', 'there is a token ' .. w.id .. ' already' }
    end
    changes_settings = true
end

-- One that was removed meanwhile stays removed.
function writes.access_used(w)
    if call('HEXISTS', P .. 'access', w.id) == 1 then
        call('HSET', P .. 'access_used', w.id, w.at)
    end
end

function writes.remove_access(w)
    if call('HDEL', P .. 'access', w.id) == 0 then
        return { 'not_found', w.id }
    end
    call('HDEL', P .. 'access_used', w.id)
    changes_settings = true
end

function writes.daemon_started(w)
    call('LPUSH', P .. 'daemons', w.at .. ':0:0')
    call('LTRIM', P .. 'daemons', 0, DAEMONS_KEPT - 1)
end

-- Says something of the present daemon, which is the newest.
function writes.daemon_is(w)
    local newest = call('LINDEX', P .. 'daemons', 0)
    if newest then
        local at, completed, ended_well = newest:match('^(.-):(%d):(%d)$')
        if w.completed then completed = 1 else ended_well = 1 end
        call('LSET', P .. 'daemons', 0, at .. ':' .. completed .. ':' .. ended_well)
    end
end

function writes.heartbeat(w)
    call('SET', P .. 'heartbeat', w.at)
end

function writes.prune_ledger(w)
    ledger.pruned(w.before, w.about)
end

function writes.forget_records(w)
    forget_records(tonumber(w.before), w.limit)
end
