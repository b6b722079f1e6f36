import { randomBytes } from "node:crypto";
import * as vscode from "vscode";

/** The page of a panel: a frame that loads our script and style, and can load nothing else. */
export function html(webview: vscode.Webview, extensionUri: vscode.Uri): string {
  const out = (name: string): string =>
    webview.asWebviewUri(vscode.Uri.joinPath(extensionUri, "out", name)).toString();
  const nonce = randomBytes(16).toString("base64");
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src ${webview.cspSource}; script-src 'nonce-${nonce}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Handlens report</title>
<link rel="stylesheet" href="${out("report.css")}">
</head>
<body>
<script nonce="${nonce}" src="${out("report.js")}"></script>
</body>
</html>`;
}

/** The rights of a panel: it may run our script, and read the files that were built for it. */
export function options(extensionUri: vscode.Uri): vscode.WebviewOptions {
  return {
    enableScripts: true,
    enableForms: false,
    enableCommandUris: false,
    localResourceRoots: [vscode.Uri.joinPath(extensionUri, "out")],
  };
}
