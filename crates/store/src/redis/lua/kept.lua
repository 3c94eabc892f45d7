-- What is asked of snapshots and of the cache.

function reads.referenced(folder)
    return is_referenced(folder) and '1' or '0'
end

function reads.find_snapshot(text, chars_are_enough)
    local id = call('HEXISTS', P .. 'snapshots', text) == 1 and text or call('HGET', P .. 'snapshot_names', text)
    if id then
        return { call('HGET', P .. 'snapshots', id) }
    end
    return texts('snapshots', chars_are_enough == '1' and beginning(P .. 'snapshot_ids', text, 2) or {})
end

function reads.snapshots(after, limit)
    return texts('snapshots', call('ZRANGEBYLEX', P .. 'snapshot_ids', after, '+', 'LIMIT', 0, limit))
end

local function cache_rows(keys)
    local found = {}
    for _, key in ipairs(keys) do
        local text = call('HGET', P .. 'cache', key)
        if text then
            local e = unpacked(text)
            found[#found + 1] = { e.key, e.snapshot, e.exit_code, e.created_at, e.last_used_at, e.hits, e.bytes,
                e.pinned and '1' or '0', e.state }
        end
    end
    return found
end

function reads.cache_entry(key)
    return cache_rows({ key })
end

function reads.cache_entries(after, limit)
    return cache_rows(call('ZRANGEBYLEX', P .. 'cache_keys', after, '+', 'LIMIT', 0, limit))
end

function reads.cache_least_used(limit)
    return cache_rows(call('ZRANGEBYSCORE', P .. 'cache_used', '-inf', '+inf', 'LIMIT', 0, limit))
end

function reads.cache_totals()
    local counts = call('HMGET', P .. 'counts', 'cached', 'cached_bytes')
    return { counts[1] or '0', counts[2] or '0' }
end

-- With what stands beside each record.
function reads.check_snapshots()
    local found = {}
    for _, id in ipairs(call('ZRANGE', P .. 'snapshot_ids', 0, -1)) do
        local head = call('HGET', P .. 'snapshot_heads', id)
        head = head and unpacked(head) or {}
        local leads = head.name and call('HGET', P .. 'snapshot_names', head.name) == id
        found[#found + 1] = { id, head.version or '0', leads and head.name or false, absent(call('HGET', P .. 'snapshots', id)) }
    end
    return found
end
