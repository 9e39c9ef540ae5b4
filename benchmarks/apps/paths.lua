-- SPDX-License-Identifier: MIT
-- wrk asks for another path each time, so that no server gains by having seen a request's bytes before.
local requests = {}
local position = 0

init = function(args)
  for number = 1, 4096 do
    requests[number] = wrk.format("GET", "/items/" .. number)
  end
end

request = function()
  position = position % 4096 + 1
  return requests[position]
end
