-- As rotate.lua, with a pause before each request: connections divided by the pause are the rate.
dofile(os.getenv("BENCH_HERE") .. "/rotate.lua")
local pause = tonumber(os.getenv("BENCH_PAUSE_MS"))
function delay() return pause end
