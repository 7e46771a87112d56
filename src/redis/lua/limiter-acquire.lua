--- @include "limiter.lua"
-- Grants a permit for one request, or returns how long to wait.
--
-- ARGV     [5] endpoint; [6] name of the permit; [7] ms after which the request counts as ended;
--          [8] the generation that the relay has seen, or ''
-- Returns  {result, ms to wait, tokens, generation}; result is `granted`, `wait`, or `lost` if the state
--          in Redis is not the generation that the relay has seen
local endpoint, permit, permitMs, seenGeneration = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
local generation = redis.call('HGET', meta, 'generation')
if not generation or generation ~= seenGeneration then return { 'lost', 0, '0', generation or '' } end
expireRequests(endpoint)
dropOldRequests(endpoint)
local windows = readWindows(endpoint)
local tokens = readTokens()
local waitMs = math.max(0, readMeta(endpoint .. ':pausedUntil') - now, (1 - tokens) / tokensPerMs)
if #windows > 0 then
  local burstMs = (findBurst(windows) - 1) * readSpacing(endpoint, windows)
  waitMs = math.max(waitMs, readMeta(endpoint .. ':dueAt') - burstMs - now)
  for _, window in ipairs(windows) do
    waitMs = math.max(waitMs, findPlaceWaitMs(window))
  end
end
-- Numbers are stored with a precision of a nanosecond: less than a microsecond is a rounding error.
if waitMs > 0.001 then
  return { 'wait', math.ceil(math.min(waitMs, unknownWaitMs)), tostring(tokens), generation }
end
writeTokens(tokens - 1)
redis.call('ZADD', endpointKey(endpoint, 'flight'), formatMs(now + permitMs), permit)
if #windows > 0 then
  local longest = readWindow(endpoint, windowsByEndpoint[endpoint][#windows])
  local spacing = findEvenSpacing(longest)
  writeMeta(endpoint .. ':spacing', spacing)
  writeMeta(endpoint .. ':dueAt', math.max(now, readMeta(endpoint .. ':dueAt')) + spacing)
end
return { 'granted', 0, tostring(tokens - 1), generation }
