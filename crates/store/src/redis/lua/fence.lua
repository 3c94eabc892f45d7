-- Whose writes they are, and who hears of them. ARGV[3] is the node that writes and ARGV[4] the epoch of its lease, '' where it has
-- none; ARGV[5] says how many ears the handle itself has.

local HANDLE, ME, EPOCH, OWN_EARS, FIRST_WRITE = ARGV[1], ARGV[3], ARGV[4], tonumber(ARGV[5]), 6

-- Why nothing may be written: this node has another epoch, or no lease any more.
local function fenced()
    if ME == '' then
        return nil
    end
    local found = call('HGET', P .. 'epochs', ME)
    if found ~= EPOCH then
        return { 'fenced', ME, EPOCH, found or '' }
    end
end

local function check_held(id, columns)
    if columns.node and ME ~= '' and columns.node ~= ME then
        return { 'held', id, columns.node }
    end
end

-- What is unsettled is held by who wrote it last, and by nobody where that has no lease.
local function holder_of(columns)
    return columns.unsettled and ME ~= '' and ME or nil
end

-- Nobody waits any longer for the one who asked what is due and was told of this job.
local are_any_reserved = call('EXISTS', P .. 'reserving') == 1

local function unreserve(id)
    if are_any_reserved then
        call('ZREM', P .. 'reserving', id)
        call('HDEL', P .. 'reserved', id)
    end
end

local changed, brings_work, changes_settings = {}, false, false

-- Others may have something to do: a job waits now, or left its place.
local function noticed(id, before, after)
    changed[#changed + 1] = id
    unreserve(id)
    if (after and after.wake_at) or (before and before.unsettled and not (after and after.unsettled)) then
        brings_work = true
    end
end

local function tell()
    local channel = P .. 'notices'
    if (#changed == 0 and not changes_settings) or call('PUBSUB', 'NUMSUB', channel)[2] <= OWN_EARS then
        return
    end
    if #changed > 0 then
        call('PUBLISH', channel, HANDLE .. '\n' .. (brings_work and 'work' or '') .. '\n' .. table.concat(changed, '\n'))
    end
    if changes_settings then
        call('PUBLISH', channel, HANDLE .. '\nsettings\n')
    end
end
