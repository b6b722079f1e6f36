/** The settings as they are sent to the server. */

export const SECTION = "handlens";

/** The values of the variables `${…}` in a setting. */
export interface Variables {
  workspaceFolder: string | undefined;
  userHome: string;
  env: Readonly<Record<string, string | undefined>>;
}

/** The text with `${workspaceFolder}`, `${userHome}` and `${env:NAME}` replaced; others stay. */
export function substitute(text: string, variables: Variables): string {
  return text.replace(/\$\{(\w+)(?::([^}]+))?\}/g, (whole, name: string, argument?: string) => {
    if (name === "env" && argument !== undefined) {
      return variables.env[argument] ?? "";
    }
    if (name === "workspaceFolder" || name === "userHome") {
      return variables[name] ?? whole;
    }
    return whole;
  });
}

/**
 * The section as it is sent to the server. If the user set no `interpreter`, it has the one that is active
 * in the Python extension; without either, the server chooses.
 */
export function completed(
  section: unknown,
  active: string | undefined,
  variables: Variables,
): unknown {
  if (typeof section !== "object" || section === null) {
    return section;
  }
  const { interpreter } = section as { interpreter?: unknown };
  if (typeof interpreter === "string" && interpreter) {
    return { ...section, interpreter: substitute(interpreter, variables) };
  }
  return active ? { ...section, interpreter: active } : section;
}
