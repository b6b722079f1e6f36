# The end-to-end tests of the extension, in a real VS Code, and the pictures that they take.

E2E := $(CLIENT)/e2e

.PHONY: e2e images-vscode

e2e: $(VSIX) $(VENV)/dev.stamp
	$(E2E)/run.sh main.ts

images-vscode: $(VSIX) $(VENV)/demo.stamp
	$(E2E)/run.sh screenshots.ts
