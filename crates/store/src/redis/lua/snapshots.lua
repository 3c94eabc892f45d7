-- Kept states, and what the cache has of them.

local function snapshot_head(id)
    local head = call('HGET', P .. 'snapshot_heads', id)
    return head and unpacked(head)
end

local function check_snapshot_name(s)
    local holder = s.name and call('HGET', P .. 'snapshot_names', s.name)
    if holder and holder ~= s.id then
        return { 'snapshot_name', s.name, holder }
    end
end

local function put_snapshot(s)
    local before = snapshot_head(s.id)
    if before and before.name then call('HDEL', P .. 'snapshot_names', before.name) end
    if s.name then call('HSET', P .. 'snapshot_names', s.name, s.id) end
    call('HSET', P .. 'snapshot_heads', s.id, pack({ version = s.version, name = s.name }))
    call('HSET', P .. 'snapshots', s.id, s.text)
    put(P .. 'snapshot_ids', 0, s.id)
end

function writes.add_snapshot(w)
    local s = w.snapshot
    if snapshot_head(s.id) then
        return { 'snapshot_changed', s.id }
    end
    if w.shared and not is_referenced(s.id) then
        return { 'unreferenced', s.id }
    end
    local refused = check_snapshot_name(s)
    if refused then
        return refused
    end
    put_snapshot(s)
end

function writes.change_snapshot(w)
    local s = w.snapshot
    local before = snapshot_head(s.id)
    if not before then
        return { 'no_snapshot', s.id }
    end
    if before.version ~= w.expected then
        return { 'snapshot_changed', s.id }
    end
    local refused = check_snapshot_name(s)
    if refused then
        return refused
    end
    put_snapshot(s)
end

function writes.remove_snapshot(w)
    local head = snapshot_head(w.id)
    if not head then
        return { 'no_snapshot', w.id }
    end
    local key = call('ZRANGE', P .. 'cached:' .. w.id, 0, 0)[1]
    if key then
        return { 'snapshot_cached', w.id, key }
    end
    if head.name then call('HDEL', P .. 'snapshot_names', head.name) end
    call('HDEL', P .. 'snapshot_heads', w.id)
    call('HDEL', P .. 'snapshots', w.id)
    take(P .. 'snapshot_ids', w.id)
end

local function cached(key)
    local entry = call('HGET', P .. 'cache', key)
    return entry and unpacked(entry)
end

-- The sets that hold an entry while it may be used, and how much of those there is.
local function count_cached(entry, sign)
    call('HINCRBY', P .. 'counts', 'cached', sign .. '1')
    if entry.bytes ~= '0' then call('HINCRBY', P .. 'counts', 'cached_bytes', sign .. entry.bytes) end
end

local function index_used(entry)
    if entry.state == 'ready' and not entry.pinned then
        put(P .. 'cache_used', entry.last_used_at, entry.key)
    else
        take(P .. 'cache_used', entry.key)
    end
end

local function write_cached(entry)
    call('HSET', P .. 'cache', entry.key, pack(entry))
    index_used(entry)
end

local function put_cached(entry)
    write_cached(entry)
    put(P .. 'cache_keys', 0, entry.key)
    if entry.state == 'ready' then
        put(P .. 'cached:' .. entry.snapshot, 0, entry.key)
        count_cached(entry, '')
    end
end

local function mark_evicting(key)
    local entry = cached(key)
    if entry and entry.state == 'ready' then
        entry.state = 'evicting'
        write_cached(entry)
        take(P .. 'cached:' .. entry.snapshot, key)
        count_cached(entry, '-')
    end
end

local function usable(key)
    local entry = cached(key)
    return entry and entry.state == 'ready' and entry
end

function writes.put_cache(w)
    local entry = w.entry
    if not snapshot_head(entry.snapshot) then
        return { 'no_snapshot', entry.snapshot }
    end
    if cached(entry.key) then
        return { 'cache_key', entry.key }
    end
    for _, key in ipairs(w.evict) do
        local goes = usable(key)
        if not goes or goes.pinned then
            return { 'cache_changed', key }
        end
    end
    for _, key in ipairs(w.evict) do
        mark_evicting(key)
    end
    put_cached(entry)
end

function writes.hit_cache(w)
    local entry = usable(w.key)
    if not entry then
        return { 'not_cached', w.key }
    end
    entry.hits = plain(tonumber(entry.hits) + 1)
    if tonumber(w.at) > tonumber(entry.last_used_at) then entry.last_used_at = w.at end
    write_cached(entry)
end

function writes.pin_cache(w)
    local entry = usable(w.key)
    if not entry then
        return { 'not_cached', w.key }
    end
    entry.pinned = w.pinned
    write_cached(entry)
end

function writes.mark_evicting(w)
    for _, key in ipairs(w.keys) do
        mark_evicting(key)
    end
end

function writes.remove_cache(w)
    local entry = cached(w.key)
    if entry and entry.state == 'evicting' then
        call('HDEL', P .. 'cache', w.key)
        take(P .. 'cache_keys', w.key)
    end
end
