-- The journal and the audit, as streams: the number of an entry is its id, and an audit record's is the number of the newest entry
-- then, with its own behind it. A number is never given twice.

local function journal(job, entry)
    local seq = plain(call('HINCRBY', P .. 'counts', 'journal', 1))
    call('XADD', P .. 'journal', seq .. '-0', 'j', job, 't', entry.at, 'e', entry.text)
    call('ZADD', P .. 'entries:' .. job, seq, seq)
end

local function audit(record)
    local after = call('HGET', P .. 'counts', 'journal') or '0'
    local number = plain(call('HINCRBY', P .. 'counts', 'audit', 1))
    call('XADD', P .. 'audit', after .. '-' .. number, 't', record.at, 'e', record.text)
end

-- The fields of a record as a table.
local function fields(record)
    local found = {}
    for at = 1, #record[2], 2 do
        found[record[2][at]] = record[2][at + 1]
    end
    return found
end

local function forget_records(before, limit)
    local first = call('XRANGE', P .. 'journal', '-', '+', 'COUNT', 1)[1]
    if first then
        local number = tonumber(first[1]:match('^%d+'))
        local last = plain(number + limit - 1)
        for _, entry in ipairs(call('XRANGE', P .. 'journal', '-', last, 'COUNT', limit)) do
            local found = fields(entry)
            if tonumber(found.t) < before then
                call('XDEL', P .. 'journal', entry[1])
                call('ZREM', P .. 'entries:' .. found.j, entry[1]:match('^%d+'))
            end
        end
    end
    local number
    for _, record in ipairs(call('XRANGE', P .. 'audit', '-', '+', 'COUNT', limit)) do
        local own = tonumber(record[1]:match('%d+$'))
        number = number or own
        if own < number + limit and tonumber(fields(record).t) < before then
            call('XDEL', P .. 'audit', record[1])
        end
    end
end
