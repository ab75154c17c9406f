-- Rotates the tokens of BENCH_TOKENS, one per request; each thread begins at a place of its own.
local tokens = {}
for line in io.lines(os.getenv("BENCH_TOKENS")) do tokens[#tokens + 1] = "Bearer " .. line end

local threads = 0
function setup(thread)
  thread:set("first", threads * math.floor(#tokens / 2))
  threads = threads + 1
end

local at = 0
function init(args) at = first end

function request()
  at = at % #tokens + 1
  wrk.headers["Authorization"] = tokens[at]
  wrk.headers["Millgate-Purpose"] = "quality-analysis"
  return wrk.format("GET")
end
