--- @include "limiter.lua"
-- Ends a request and applies what Klaviyo's response said about its limits. A permit that the server has
-- lost is counted, too.
--
-- ARGV     [5] endpoint; [6] name of the permit; [7] feedback as JSON, or ''
-- Returns  0
local endpoint, permit, feedbackText = ARGV[5], ARGV[6], ARGV[7]
redis.call('ZREM', endpointKey(endpoint, 'flight'), permit)
redis.call('ZADD', endpointKey(endpoint, 'ended'), formatMs(now), permit)
expireRequests(endpoint)
if feedbackText == '' then return 0 end
local feedback = cjson.decode(feedbackText)
for _, announced in ipairs(feedback.windows) do
  redis.call('HSET', meta, endpoint .. ':limit:' .. announced.windowMs, math.max(1, announced.limit))
end
if type(feedback.remaining) ~= 'number' or type(feedback.remainingOf) ~= 'number' then return 0 end
for _, window in ipairs(readWindows(endpoint)) do
  if window.limit == feedback.remainingOf then
    local hasReset = type(feedback.resetMs) == 'number' and feedback.resetMs > 0
    local resetMs = hasReset and feedback.resetMs or window.windowMs
    local used = math.min(feedback.remainingOf - feedback.remaining, window.limit)
    local foreignCount = used - window.flight - #window.freeAt
    local foreign = endpointKey(endpoint, 'foreign')
    redis.call('ZREMRANGEBYSCORE', foreign, '-inf', now)
    for index = 1, foreignCount do
      local place = string.format('%.0f', window.windowMs) .. '/' .. permit .. '/' .. index
      redis.call('ZADD', foreign, formatMs(now + math.min(resetMs, window.windowMs)), place)
    end
    break
  end
end
return 0
