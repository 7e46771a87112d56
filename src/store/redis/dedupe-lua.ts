/** The dedupe window, for the scripts that know of repeats; after the prelude. */
export const dedupeLua = `
-- Of events: {seq, keys}, in order.
local function remember(events, now, maxAge, maxCount)
  if maxAge <= 0 or maxCount <= 0 or #events == 0 then return end
  local note = redis.call('HINCRBY', K .. ':meta', 'note', #events) - #events
  local seen, log = {}, {}
  for index, event in ipairs(events) do
    local value = event.seq .. ':' .. (note + index) .. ':' .. now
    for _, each in ipairs(event.keys) do
      seen[#seen + 1] = each
      seen[#seen + 1] = value
    end
    log[index] = (note + index) .. ' ' .. now .. ' ' .. table.concat(event.keys, ' ')
  end
  bulk('HSET', K .. ':seen', seen)
  bulk('RPUSH', K .. ':seen-log', log)
end

-- Drops what fell out of the window; at most so many, so that no call pays for many.
local function trimSeen(now, maxAge, maxCount, most)
  local log = K .. ':seen-log'
  local excess = redis.call('LLEN', log) - maxCount
  for _ = 1, most do
    local head = redis.call('LINDEX', log, 0)
    if not head then return end
    local all = words(head)
    if excess <= 0 and tonumber(all[2]) + maxAge > now then return end
    redis.call('LPOP', log)
    excess = excess - 1
    for index = 3, #all do
      local known = redis.call('HGET', K .. ':seen', all[index])
      if known and string.match(known, ':(%d+):') == all[1] then redis.call('HDEL', K .. ':seen', all[index]) end
    end
  end
end

-- The number of the event that is known by one of the keys; known is field by field.
local function findSeen(known, keys, now, maxAge)
  for _, each in ipairs(keys) do
    if known[each] then
      local seq, at = string.match(known[each], '^(%d+):%d+:(%d+)$')
      if tonumber(at) + maxAge > now then return tonumber(seq) end
    end
  end
  return nil
end

local function forget(keys, seq)
  for _, each in ipairs(keys) do
    local known = redis.call('HGET', K .. ':seen', each)
    if known and string.match(known, '^%d+') == tostring(seq) then redis.call('HDEL', K .. ':seen', each) end
  end
end
`;
