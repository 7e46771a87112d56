import { libLua, toScript } from './lib-script.js';

/**
 * now, relay, the claim's number, lane, maxCount, maxBytes, isolateAfterAttempts, whether profiles merge, the change →
 * {claimed, view}; claimed is flat: item, number, tries or '', m, payload, of each envelope in order.
 */
export const claimScript = toScript(
  'claim',
  `${libLua}
local now = toNow(ARGV[1])
local owner, lane = ARGV[2] .. '/' .. ARGV[3], ARGV[4]
local maxCount, maxBytes, suspectAfter = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local merges = ARGV[8] == '1'
-- A claim that finds nothing but what has to wait looks no further than this, and the next goes on.
local mostExamined = 20000
evenWhenFull()
noteChange()
if not mayClaim(ARGV[2], ARGV[3]) then return {{}, view(now)} end
wakeDue(lane, now)

local taken, reserved = key(lane, 'taken'), key(lane, 'reserved')
local company, allowed = maxCount, maxCount
local items, byKey = {}, {}
local bytes, closed = 0, false

local function toCompany(found)
  local attempts = found.attempts
  if found.alone and attempts > 0 then return 1 end
  local excess = attempts - suspectAfter
  if excess < 0 then return maxCount end
  return math.max(1, math.floor(maxCount / 2 ^ (excess + 1)))
end

local function fits(found)
  if #items > 0 and bytes + found.weight > maxBytes then closed = true end
  return not closed
end

local function put(item, found)
  item.members[#item.members + 1] = found
  bytes = bytes + found.weight
  for _, each in ipairs(found.keys) do
    item.keys[each] = true
    byKey[each] = item
  end
end

local function openItem(found)
  allowed = math.min(allowed, toCompany(found))
  if #items >= allowed then closed = #items > 0 end
  if closed or not fits(found) then return 'full' end
  local item = {members = {}, keys = {}}
  items[#items + 1] = item
  put(item, found)
  return 'taken'
end

local function isMergeable(item, keys)
  local kinds = {}
  for each in pairs(item.keys) do kinds[string.sub(each, 1, 1)] = true end
  local shares = false
  for _, each in ipairs(keys) do
    if item.keys[each] then shares = true
    elseif kinds[string.sub(each, 1, 1)] then return false end
  end
  return shares
end

local function canJoin(item, found, shared)
  if not merges or found.alone or item.members[1].alone then return false end
  for _, each in ipairs(shared) do if byKey[each] ~= item then return false end end
  return isMergeable(item, found.keys)
end

local function offer(found)
  local shared = {}
  for _, each in ipairs(found.keys) do if byKey[each] then shared[#shared + 1] = each end end
  if not shared[1] then return openItem(found) end
  local item = byKey[shared[1]]
  if not canJoin(item, found, shared) then return shared[1] end
  if not fits(found) then return 'full' end
  put(item, found)
  return 'taken'
end

-- Which keys are taken changes only at the end of a claim, and is asked for many at once.
local isTaken = {}
local function ask(found)
  local asked = {}
  for _, one in ipairs(found) do
    for _, each in ipairs(one.keys) do asked[#asked + 1] = each end
  end
  for each, often in pairs(fields(taken, asked)) do isTaken[each] = often end
end

local hasReserved = redis.call('EXISTS', reserved) == 1
local function heldKey(keys)
  for _, each in ipairs(keys) do
    if isTaken[each] or hasReserved and redis.call('HEXISTS', reserved, each) == 1 then return each end
  end
  return nil
end

local left = {0, 0}

-- Whether it left the queue: it was taken, or it waits for a key.
local function consider(found)
  local waitsFor = heldKey(found.keys)
  if not waitsFor then
    local answer = offer(found)
    if answer == 'full' then return false end
    if answer ~= 'taken' then waitsFor = answer end
  end
  if waitsFor then
    wait(lane, waitsFor, found)
    hasReserved = true
  end
  left[1], left[2] = left[1] + 1, left[2] + found.weight
  return true
end

local examined = 0
local cursor = number(redis.call('HGET', key(lane, 'stats'), 'cursor'))
local back = redis.call('ZRANGE', key(lane, 'returned'), 0, mostExamined - 1)
local nextBack = 1

-- What came back, up to a number; false where one of it did not fit. It is older than what is fresh,
-- but for a dead letter that was never sent.
local function considerBack(last)
  while back[nextBack] and tonumber(back[nextBack]) <= last do
    if closed then return false end
    local seq = back[nextBack]
    examined = examined + 1
    local found = content(lane, seq)
    if found then
      local tried = redis.call('HGET', key(lane, 'tries'), seq)
      local trial = tried and cjson.decode(tried)
      found.tries = tried or ''
      found.attempts = trial and trial.attempts or 0
      found.alone = trial and trial.alone or false
      ask({found})
      if not consider(found) then return false end
    end
    redis.call('ZREM', key(lane, 'returned'), seq)
    nextBack = nextBack + 1
  end
  -- Where more came back than is looked at, what is fresh may be younger than the rest.
  local hasSeenAll = nextBack <= #back or #back < mostExamined
  return hasSeenAll and not closed
end

local goesOn = considerBack(cursor)
while goesOn and examined < mostExamined do
  local most = math.max(1, math.min(500, allowed - #items + 1))
  local fresh = redis.call('XRANGE', key(lane, 'queue'), '(' .. cursor .. '-0', '+', 'COUNT', most)
  if #fresh == 0 then
    considerBack(math.huge)
    goesOn = false
  end
  local step = {}
  for index, entry in ipairs(fresh) do
    step[index] = toContent(string.match(entry[1], '^%d+'), entry[2][2], entry[2][4])
  end
  ask(step)
  for _, found in ipairs(step) do
    examined = examined + 1
    found.tries, found.attempts, found.alone = '', 0, false
    if not considerBack(tonumber(found.seq)) or not consider(found) then
      goesOn = false
      break
    end
    cursor = tonumber(found.seq)
  end
end
redis.call('HSET', key(lane, 'stats'), 'cursor', cursor)

count(lane, 'ready', -left[1])
count(lane, 'readyBytes', -left[2])

local claimed, takes, owners, counts = {}, {}, {}, {}
for index, item in ipairs(items) do
  for _, found in ipairs(item.members) do
    for _, each in ipairs(found.keys) do counts[each] = (counts[each] or 0) + 1 end
    owners[#owners + 1] = found.seq
    owners[#owners + 1] = owner
    local at = #claimed
    claimed[at + 1], claimed[at + 2], claimed[at + 3] = index, tonumber(found.seq), found.tries
    claimed[at + 4], claimed[at + 5] = found.m, found.p
  end
end
for each, often in pairs(counts) do
  takes[#takes + 1] = each
  takes[#takes + 1] = often
end
-- None of them was taken before, or it would have had to wait.
bulk('HSET', taken, takes)
bulk('HSET', key(lane, 'claimed'), owners)
return {claimed, view(now)}
`,
);
