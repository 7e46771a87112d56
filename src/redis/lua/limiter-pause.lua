--- @include "limiter.lua"
-- Pauses an endpoint for all relays.
--
-- ARGV     [5] endpoint; [6] length of the pause in ms
-- Returns  0
pauseEndpoint(ARGV[5], now + tonumber(ARGV[6]))
return 0
