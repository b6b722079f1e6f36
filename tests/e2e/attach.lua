-- Opens a file in Neovim with the language server attached, and writes down what is then shown in it.
-- Neovim 0.7 has no vim.lsp.start; later ones keep start_client for a while.

local file, answer = vim.env.HANDLENS_FILE, vim.env.HANDLENS_ANSWER
local options = vim.fn.json_decode(vim.env.HANDLENS_OPTIONS)
local fields = { "lnum", "col", "end_lnum", "end_col", "severity", "message", "source", "code" }

local function shown()
  local found = {}
  for _, diagnostic in ipairs(vim.diagnostic.get(0)) do
    local kept = {}
    for _, field in ipairs(fields) do
      kept[field] = diagnostic[field]
    end
    table.insert(found, kept)
  end
  return found
end

vim.api.nvim_create_autocmd("DiagnosticChanged", {
  callback = function()
    local found = shown()
    if #found > 0 then
      vim.fn.writefile({ vim.fn.json_encode(found) }, answer)
      vim.cmd("qall!")
    end
  end,
})

vim.cmd("edit " .. vim.fn.fnameescape(file))
local client = vim.lsp.start_client({
  name = "handlens",
  cmd = { options.python, "-m", "handlens_server", "--stdio" },
  root_dir = vim.fn.fnamemodify(file, ":h"),
  init_options = options.initialization,
})
vim.lsp.buf_attach_client(0, client)
