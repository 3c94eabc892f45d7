-- A group of writes, each whole or not at all, in their order, and each with an answer: nothing, or why it was refused.
-- ARGV[1] is the name of the handle and ARGV[2] the number of this call, which grow: asked again, it answers as before.

local ANSWERS_KEPT_MS = 600000

local remembered = P .. 'answered:' .. HANDLE
local last = call('GET', remembered)
if last then
    last = unpacked(last)
    if last.call == ARGV[2] then
        return last.answers
    end
    -- A copy that was on its way for long: whoever sent it has asked for more since then, and so has its answer.
    if tonumber(last.call) > tonumber(ARGV[2]) then
        return redis.error_reply('STALE this call was answered')
    end
end
local answers, refused_all = {}, fenced()
for at = FIRST_WRITE, #ARGV do
    local refused = refused_all
    if not refused then
        local w = unpacked(ARGV[at])
        refused = writes[w.what.write](w.what)
        if not refused and w.audit then
            audit(w.audit)
        end
    end
    answers[#answers + 1] = refused or {}
end
tell()
call('SET', remembered, pack({ call = ARGV[2], answers = answers }), 'PX', ANSWERS_KEPT_MS)
return answers
