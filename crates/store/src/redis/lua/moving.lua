-- Taking in what another store gave. What is there already stays; numbers are kept, and those given from then on are above them.

local function count_up_to(what, number)
    if tonumber(call('HGET', P .. 'counts', what) or '0') < tonumber(number) then
        call('HSET', P .. 'counts', what, number)
    end
end

local function is_in(stream, id)
    return #call('XRANGE', P .. stream, id, id) > 0
end

-- A stream grows at its end only. The sections of a move come in order, so that only a store which was used meanwhile is refused.
local function check_number(stream, count, number, id)
    if tonumber(number) <= tonumber(call('HGET', P .. 'counts', count) or '0') and not is_in(stream, id) then
        return { 'rule', 'number ' .. number .. ' of the ' .. stream .. ' lies below what is here already' }
    end
end

local arrives, checks = {}, {}

function checks.job(v)
    local new = v.new
    if stored(new.id) then
        return nil
    end
    local holder = new.name and call('HGET', P .. 'names', new.name)
    if holder then
        return { 'name', new.name, holder }
    end
    local used = new.key and call('HGET', P .. 'keys', new.key)
    if used then
        return { 'key', new.key, used }
    end
    for _, checkpoint in ipairs(v.checkpoints) do
        if call('HEXISTS', P .. 'checkpoints', checkpoint.id) == 1 then
            return { 'rule', 'checkpoint ' .. checkpoint.id .. ' belongs to another job than ' .. new.id }
        end
    end
    if new.columns.sandbox and call('HEXISTS', P .. 'sandboxes', new.columns.sandbox) == 1 then
        return { 'rule', 'the sandbox ' .. new.columns.sandbox .. ' belongs to another job than ' .. new.id }
    end
end

function checks.entry(v)
    return check_number('journal', 'journal', v.seq, v.seq .. '-0')
end

function checks.audit(v)
    return check_number('audit', 'audit', v.number, v.after .. '-' .. v.number)
end

function arrives.job(v)
    local new = v.new
    local id = new.id
    if stored(id) then
        return
    end
    for _, checkpoint in ipairs(v.checkpoints) do
        call('HSET', P .. 'checkpoints', checkpoint.id, id)
        call('HSET', P .. 'checkpoint_records', checkpoint.id, checkpoint.text)
        if checkpoint.folder then call('SADD', P .. 'sharing:' .. checkpoint.folder, id) end
        put(P .. 'images:' .. id, checkpoint.number, checkpoint.id)
        count_up_to('checkpoints', checkpoint.number)
    end
    put_job(new, new.version, nil)
    for _, token in ipairs(v.tokens) do
        call('HSET', P .. 'tokens:' .. id, token.token, token.text)
    end
    if v.output then
        call('SET', P .. 'output:' .. id, v.output)
    end
    for _, signal in ipairs(v.signals) do
        call('HSET', P .. 'signals:' .. id, signal.id, signal.text)
        set_standing(id, signal.id, { name = signal.name, seq = padded(signal.number) }, signal.standing, signal.token)
        count_up_to('signals', signal.number)
    end
    for _, wait in ipairs(v.waits) do
        call('HSET', P .. 'waits:' .. id, wait.token, wait.text)
    end
end

function arrives.definition(v) writes.define(v) end

function arrives.entry(v)
    if is_in('journal', v.seq .. '-0') then
        return
    end
    call('XADD', P .. 'journal', v.seq .. '-0', 'j', v.job, 't', v.at, 'e', v.text)
    put(P .. 'entries:' .. v.job, v.seq, v.seq)
    count_up_to('journal', v.seq)
end

function arrives.audit(v)
    local id = v.after .. '-' .. v.number
    if is_in('audit', id) then
        return
    end
    call('XADD', P .. 'audit', id, 't', v.at, 'e', v.text)
    count_up_to('audit', v.number)
    count_up_to('journal', v.after)
end

function arrives.interval(v)
    local id = padded(v.number)
    local interval, owner = P .. 'interval:' .. id, owner_key(v)
    if call('EXISTS', interval) == 1 then
        return
    end
    local field = open_field(v.owner_kind, v.owner, v.kind)
    if not v.to and call('HEXISTS', P .. 'metering', field) == 1 then
        return
    end
    call('HSET', interval, 'o', owner, 'i', v.text, 'f', v.from)
    put(owner, v.from, id)
    if v.to then
        call('HSET', interval, 't', v.to)
        put(P .. 'metered', v.to, id)
    else
        call('HSET', P .. 'metering', field, id)
    end
    if v.used then call('HSET', interval, 'u', v.used) end
    if v.closed_by then call('HSET', interval, 'b', v.closed_by) end
    count_up_to('ledger', v.number)
end

function arrives.schedule(v)
    if call('HEXISTS', P .. 'schedules', v.name) == 0 then
        put_schedule(v)
    end
end

function arrives.snapshot(v)
    if not snapshot_head(v.id) then
        put_snapshot(v)
    end
end

function arrives.cached(v)
    if not cached(v.key) then
        put_cached(v)
    end
end

function arrives.access(v) writes.add_access(v) end

function arrives.queue(v) writes.set_queue(v) end

function arrives.turns(v)
    call('DEL', P .. 'turns:' .. v.queue)
    take(P .. 'turning', v.queue)
    for _, turn in ipairs(v.turns) do
        put_turn(v.queue, turn)
    end
end

function arrives.daemons(v)
    call('DEL', P .. 'daemons', P .. 'heartbeat')
    for _, run in ipairs(v.runs) do
        call('LPUSH', P .. 'daemons', run)
    end
    if v.heartbeat then
        call('SET', P .. 'heartbeat', v.heartbeat)
    end
end

function arrives.mark(v)
    call('SET', P .. 'moving', v.text)
end

function writes.import(w)
    for _, v in ipairs(w.values) do
        local refused = checks[v.arrives] and checks[v.arrives](v)
        if refused then
            return refused
        end
    end
    for _, v in ipairs(w.values) do
        arrives[v.arrives](v)
    end
end
