-- What every script begins with. KEYS[1] is what all keys begin with; it has a hash tag, so that all lie in one slot.
--
-- Texts are texts to Lua: no JSON is read or written here, and a number that may exceed 2^53 is never made one, but to be compared.

local call, P = redis.call, KEYS[1]
local pack, unpacked = cmsgpack.pack, cmsgpack.unpack

-- Two texts as one that no other two make.
local function join(one, other)
    return #one .. ':' .. one .. ':' .. other
end

local function job_key(id)
    return P .. 'job:' .. id
end

-- A number of ours, so that texts sort as the numbers do.
local function padded(number)
    return string.format('%016.0f', number)
end

local function plain(number)
    return string.format('%.0f', number)
end

-- All members of a set of texts that begin with this one.
local function beginning(set, text, limit)
    return call('ZRANGEBYLEX', set, '[' .. text, '(' .. text .. '\255', 'LIMIT', 0, limit)
end

-- A stored job: its version and its columns.
local function stored(id)
    local found = call('HMGET', job_key(id), 'v', 'c')
    if not found[1] then
        return nil
    end
    return { v = found[1], c = unpacked(found[2]) }
end

-- Whether a checkpoint of a job, or a snapshot, is in this folder.
local function is_referenced(folder)
    return call('HEXISTS', P .. 'checkpoints', folder) == 1 or call('EXISTS', P .. 'sharing:' .. folder) == 1
        or call('HEXISTS', P .. 'snapshots', folder) == 1
end

local function lane_member(columns)
    return columns.queue .. '\0' .. columns.lane
end

local function lane_key(queue, lane)
    return P .. 'due:' .. lane .. ':' .. queue
end

local function unique_key(key, state)
    return P .. 'unique:' .. state .. ':' .. key
end

local function batch_key(batch, state)
    return P .. 'batch:' .. state .. ':' .. batch
end

local function tag_key(key, value)
    return P .. 'tag:' .. join(key, value)
end
