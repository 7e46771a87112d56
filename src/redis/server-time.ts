/** In Lua: `serverMs(given)`, with microseconds behind the point: the server's own time, where `given` is ''. */
export const serverTime = `
local function serverMs(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end
`;
