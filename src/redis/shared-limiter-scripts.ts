import { toScript as toAnyScript, type Script } from './connection.js';
import { steadyTime } from './server-time.js';

/** How many requests may leave at once after an idle spell where no shorter window says so; as in delivery/pacer.ts. */
const burstShare = 1 / 15;

const keys = [
  ':meta',
  ...['events', 'profiles', 'imports'].flatMap((endpoint) =>
    ['flight', 'ended', 'foreign'].map((what) => `:${endpoint}:${what}`),
  ),
];

const toScript = (name: string, lua: string): Script => toAnyScript(name, keys, lua);

/**
 * The rules of delivery/{token-bucket,window,pacer}.ts, within the server. Layout under one key:
 *
 * - `meta`: hash. clock, ahead (of the server's), generation, tokens, tokensAt, and per endpoint dueAt, spacing, pausedUntil and
 *   announced limits by window.
 * - `ENDPOINT:flight`: sorted set. Permit → when it counts as ended, though nobody ended it.
 * - `ENDPOINT:ended`: sorted set. Permit → when it ended.
 * - `ENDPOINT:foreign`: sorted set. `WINDOW/permit/number` of places that others on the account hold, until.
 *
 * ARGV: the time as a stamp (`server-time.ts`), the bucket's refill a second and size, windows as JSON by endpoint, shortest first.
 */
const prelude = `
local K = KEYS[1]
local meta = K .. ':meta'
local function number(value) return tonumber(value or 0) end
${steadyTime}
local time = toSteady(meta, ARGV[1])
keepSteady(meta, time)
local now = time.now
local perMs, size = tonumber(ARGV[2]) / 1000, tonumber(ARGV[3])
local configured = cjson.decode(ARGV[4])

local function get(name) return number(redis.call('HGET', meta, name)) end
local function set(name, value) redis.call('HSET', meta, name, string.format('%.6f', value)) end
local function name(endpoint, what) return K .. ':' .. endpoint .. ':' .. what end

local function toTokens()
  local kept = redis.call('HMGET', meta, 'tokens', 'tokensAt')
  if not kept[1] then return size end
  return math.min(size, number(kept[1]) + math.max(0, now - number(kept[2])) * perMs)
end
local function setTokens(tokens)
  set('tokens', tokens)
  set('tokensAt', now)
end

-- What nobody ended counts as ended when it can no longer be under way.
local function expire(endpoint)
  local over = redis.call('ZRANGEBYSCORE', name(endpoint, 'flight'), '-inf', now, 'WITHSCORES')
  for index = 1, #over, 2 do
    redis.call('ZREM', name(endpoint, 'flight'), over[index])
    redis.call('ZADD', name(endpoint, 'ended'), over[index + 1], over[index])
  end
end

-- A window as it stands: its limit, places taken, and when each is free again, ascending.
local function look(endpoint, window)
  local freeAt = {}
  local ended = redis.call('ZRANGEBYSCORE', name(endpoint, 'ended'), '(' .. string.format('%.6f', now - window.windowMs), '+inf', 'WITHSCORES')
  for index = 2, #ended, 2 do freeAt[#freeAt + 1] = tonumber(ended[index]) + window.windowMs end
  local foreign = redis.call('ZRANGEBYSCORE', name(endpoint, 'foreign'), '(' .. string.format('%.6f', now), '+inf', 'WITHSCORES')
  for index = 1, #foreign, 2 do
    if tonumber(string.match(foreign[index], '^%d+')) == window.windowMs then freeAt[#freeAt + 1] = tonumber(foreign[index + 1]) end
  end
  table.sort(freeAt)
  local announced = redis.call('HGET', meta, endpoint .. ':limit:' .. window.windowMs)
  local limit = announced and math.min(window.limit, number(announced)) or window.limit
  return {limit = limit, windowMs = window.windowMs, freeAt = freeAt, flight = redis.call('ZCARD', name(endpoint, 'flight'))}
end

local function lookAll(endpoint)
  local all = {}
  for index, window in ipairs(configured[endpoint]) do all[index] = look(endpoint, window) end
  return all
end

local never = 1e15
local function placeWait(window)
  local excess = window.flight + #window.freeAt - window.limit
  if excess < 0 then return 0 end
  local freeAt = window.freeAt[excess + 1]
  return freeAt and math.max(0, freeAt - now) or never
end

local function evenSpacing(window)
  local left = window.limit - window.flight - #window.freeAt
  local spacing = window.windowMs / window.limit
  for index, freeAt in ipairs(window.freeAt) do
    spacing = math.max(spacing, (freeAt - now) / math.max(1, left + index))
  end
  return spacing
end

local function toBurst(windows)
  if #windows == 0 then return 1 end
  local shortest, steady = windows[1], windows[#windows]
  if #windows == 1 then return math.max(1, math.floor(shortest.limit * ${burstShare})) end
  return math.max(1, shortest.limit - math.ceil(shortest.windowMs / (steady.windowMs / steady.limit)))
end

local function pause(endpoint, untilMs)
  local windows = lookAll(endpoint)
  set(endpoint .. ':pausedUntil', math.max(get(endpoint .. ':pausedUntil'), untilMs))
  if #windows == 0 then return end
  local dueAt = untilMs + (toBurst(windows) - 1) * get(endpoint .. ':spacing')
  set(endpoint .. ':dueAt', math.max(get(endpoint .. ':dueAt'), dueAt))
end

local function forgetOld(endpoint)
  local windows = configured[endpoint]
  local longest = windows[#windows] and windows[#windows].windowMs or 0
  redis.call('ZREMRANGEBYSCORE', name(endpoint, 'ended'), '-inf', string.format('%.6f', now - longest))
end
`;

/** … endpoint, the permit's name, permit ms, the generation that is known or '' → {what, wait ms, tokens, generation}; what is `granted`, `wait` or `lost`. */
export const takeScript = toScript(
  'take',
  `${prelude}
local endpoint, permit, permitMs, known = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
local generation = redis.call('HGET', meta, 'generation')
if not generation or generation ~= known then return {'lost', 0, '0', generation or ''} end
expire(endpoint)
forgetOld(endpoint)
local windows = lookAll(endpoint)
local tokens = toTokens()
local wait = math.max(0, get(endpoint .. ':pausedUntil') - now, (1 - tokens) / perMs)
if #windows > 0 then
  wait = math.max(wait, get(endpoint .. ':dueAt') - (toBurst(windows) - 1) * get(endpoint .. ':spacing') - now)
  for _, window in ipairs(windows) do wait = math.max(wait, placeWait(window)) end
end
-- Less than a microsecond is what is lost in writing numbers down.
if wait > 0.001 then return {'wait', math.ceil(math.min(wait, never)), tostring(tokens), generation} end
setTokens(tokens - 1)
redis.call('ZADD', name(endpoint, 'flight'), string.format('%.6f', now + permitMs), permit)
if #windows > 0 then
  local steady = look(endpoint, configured[endpoint][#windows])
  local spacing = evenSpacing(steady)
  set(endpoint .. ':spacing', spacing)
  set(endpoint .. ':dueAt', math.max(now, get(endpoint .. ':dueAt')) + spacing)
end
return {'granted', 0, tostring(tokens - 1), generation}
`,
);

/** … endpoint, permit, feedback as JSON or '' → nothing. A permit that the server lost is counted anyway. */
export const endScript = toScript(
  'end',
  `${prelude}
local endpoint, permit, feedback = ARGV[5], ARGV[6], ARGV[7]
redis.call('ZREM', name(endpoint, 'flight'), permit)
redis.call('ZADD', name(endpoint, 'ended'), string.format('%.6f', now), permit)
expire(endpoint)
if feedback == '' then return 0 end
local told = cjson.decode(feedback)
for _, announced in ipairs(told.windows) do
  redis.call('HSET', meta, endpoint .. ':limit:' .. announced.windowMs, math.max(1, announced.limit))
end
if type(told.remaining) ~= 'number' or type(told.remainingOf) ~= 'number' then return 0 end
for _, window in ipairs(lookAll(endpoint)) do
  if window.limit == told.remainingOf then
    local resetMs = type(told.resetMs) == 'number' and told.resetMs > 0 and told.resetMs or window.windowMs
    local used = math.min(told.remainingOf - told.remaining, window.limit)
    local foreign = used - window.flight - #window.freeAt
    local place = name(endpoint, 'foreign')
    redis.call('ZREMRANGEBYSCORE', place, '-inf', now)
    for index = 1, foreign do
      redis.call('ZADD', place, string.format('%.6f', now + math.min(resetMs, window.windowMs)), string.format('%.0f', window.windowMs) .. '/' .. permit .. '/' .. index)
    end
    break
  end
end
return 0
`,
);

/** … endpoint, permit → nothing. */
export const cancelScript = toScript(
  'cancel',
  `${prelude}
local endpoint, permit = ARGV[5], ARGV[6]
if redis.call('ZREM', name(endpoint, 'flight'), permit) == 0 then return 0 end
setTokens(math.min(size, toTokens() + 1))
if #configured[endpoint] > 0 then
  set(endpoint .. ':dueAt', get(endpoint .. ':dueAt') - get(endpoint .. ':spacing'))
end
return 0
`,
);

/** … endpoint, ms → nothing. */
export const pauseScript = toScript(
  'pause',
  `${prelude}
pause(ARGV[5], now + tonumber(ARGV[6]))
return 0
`,
);

/**
 * … a generation for a state that is new, ms for which all wait first where it is new, and in any
 * case, then per request endpoint, permit, `flight` or `ended`, and ms until it counts as ended or
 * since it did → the generation. What a relay knows of its own requests, where the server may not.
 * Who creates the state cannot tell whether there was one: the others get time to tell of theirs.
 */
export const reportScript = toScript(
  'report',
  `${prelude}
local isNew = redis.call('HSETNX', meta, 'generation', ARGV[5]) == 1
local pauseMs = math.max(isNew and tonumber(ARGV[6]) or 0, tonumber(ARGV[7]))
for index = 8, #ARGV, 4 do
  local endpoint, permit, kind, ms = ARGV[index], ARGV[index + 1], ARGV[index + 2], tonumber(ARGV[index + 3])
  if kind == 'flight' then redis.call('ZADD', name(endpoint, 'flight'), string.format('%.6f', now + ms), permit)
  else redis.call('ZADD', name(endpoint, 'ended'), string.format('%.6f', now - ms), permit) end
end
if pauseMs > 0 then
  for endpoint in pairs(configured) do pause(endpoint, now + pauseMs) end
end
return redis.call('HGET', meta, 'generation')
`,
);

/** … → the generation, or nothing. */
export const touchScript = toScript(
  'touch',
  `${prelude}
return redis.call('HGET', meta, 'generation')
`,
);
