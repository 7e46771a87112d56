/** Envelopes that one run of the script counts. Redis runs no other command meanwhile. */
const countedAtOnce = 5000;

/**
 * Lua functions that repair a buffer which has lost some of its keys, for example to an eviction policy.
 * Every envelope that is still stored is queued again as if it had not been sent. So an envelope may be
 * sent twice under one `unique_id`, and none is forgotten.
 *
 * The field `rebuilding` of a lane's stats is the number of the last envelope that is counted. While the
 * field exists, relays accept nothing and claim nothing.
 */
export const rebuildLua = `
-- How the keys of a lane contradict each other; nil where they do not.
local function findTear(lane)
  local stats = redis.call('HMGET', key(lane, 'stats'), 'count', 'ready')
  local all, ready = number(stats[1]), number(stats[2])
  local there = redis.call('XLEN', key(lane, 'queue')) + redis.call('HLEN', key(lane, 'redriven'))
  if there ~= all then return lane .. ' has ' .. there .. ' envelopes of ' .. all end
  local held = redis.call('HLEN', key(lane, 'claimed')) + redis.call('ZCARD', key(lane, 'delayed'))
  local placed = ready + held + redis.call('ZCARD', key(lane, 'waiters'))
  if placed ~= all then return lane .. ' knows the state of ' .. placed .. ' envelopes of ' .. all end
  local returned = redis.call('ZCARD', key(lane, 'returned'))
  local cursor = number(redis.call('HGET', key(lane, 'stats'), 'cursor'))
  local isFresh = ready > returned and #redis.call('XRANGE', key(lane, 'queue'), '(' .. cursor .. '-0', '+', 'COUNT', 1) > 0
  if ready < returned or (ready > returned and not isFresh) then return lane .. ' has ' .. ready .. ' envelopes to send and does not know which' end
  -- Every profile has a key.
  if lane == 'profiles' and held > 0 and redis.call('EXISTS', key(lane, 'taken')) == 0 then return 'the people of ' .. held .. ' profiles are not known' end
end

local function countAgain(lane, entries, bytes)
  for _, name in ipairs({'count', 'ready'}) do count(lane, name, entries) end
  for _, name in ipairs({'bytes', 'readyBytes'}) do count(lane, name, bytes) end
end

local function beginRebuild(lane, now)
  local stats, queue = key(lane, 'stats'), key(lane, 'queue')
  for _, name in ipairs({'claimed', 'delayed', 'returned', 'waiters', 'taken', 'reserved', 'tries', 'imports', 'orphans', 'redriven-at'}) do redis.call('DEL', key(lane, name)) end
  -- What they hold is nobody's: their leases end.
  for _, relay in ipairs(redis.call('ZRANGE', K .. ':relays', 0, -1)) do redis.call('ZADD', K .. ':relays', 0, relay) end
  local newest = redis.call('XREVRANGE', queue, '+', '-', 'COUNT', 1)[1]
  -- Where nothing tells the last number, ms of the time are above all that were given out.
  local seq = redis.call('HGET', stats, 'seq') or now
  if newest then seq = math.max(seq, tonumber(string.match(newest[1], '^%d+'))) end
  redis.call('HSET', stats, 'rebuilding', 0, 'cursor', 0, 'seq', seq, 'count', 0, 'bytes', 0, 'ready', 0, 'readyBytes', 0)
  local redriven = redis.call('HGETALL', key(lane, 'redriven'))
  for index = 1, #redriven, 2 do
    local found = content(lane, redriven[index])
    redis.call('ZADD', key(lane, 'redriven-at'), found.acceptedAt, found.seq)
    redis.call('ZADD', key(lane, 'returned'), found.seq, found.seq)
    countAgain(lane, 1, found.weight)
  end
end

-- Why relays must wait; nil where the lane is sound.
local function rebuild(lane, tear, now)
  local stats = key(lane, 'stats')
  local from = redis.call('HGET', stats, 'rebuilding')
  if not from then
    tear = findTear(lane) or tear
    if not tear then return nil end
    redis.call('HSET', K .. ':meta', 'tear', tear)
    beginRebuild(lane, now)
    from = '0'
  end
  local entries = redis.call('XRANGE', key(lane, 'queue'), '(' .. from .. '-0', '+', 'COUNT', ${countedAtOnce})
  local bytes = 0
  for _, entry in ipairs(entries) do bytes = bytes + #entry[2][4] + 1 end
  countAgain(lane, #entries, bytes)
  if #entries == ${countedAtOnce} then redis.call('HSET', stats, 'rebuilding', string.match(entries[#entries][1], '^%d+'))
  else redis.call('HDEL', stats, 'rebuilding') end
  return 'keys of the buffer are gone (' .. (redis.call('HGET', K .. ':meta', 'tear') or '') .. '), as where the server evicts keys: what is left is taken up again'
end
`;
