/** Reads the level of each line of the server's log. */

export type Level = "error" | "warn" | "info" | "debug";

const ENTRY =
  /^\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[,.]?\d* (?:(DEBUG|INFO|WARNING|ERROR|CRITICAL) )?/;
const LEVELS: Record<string, Level> = {
  DEBUG: "debug",
  INFO: "info",
  WARNING: "warn",
  ERROR: "error",
  CRITICAL: "error",
};

/** Reads the level of each line, and strips the time and the level, which the channel writes itself. */
export class LogLines {
  private level: Level = "info";

  read(line: string): { level: Level; text: string } {
    const entry = ENTRY.exec(line);
    if (entry) {
      this.level = LEVELS[entry[1] ?? "INFO"] ?? "info";
      return { level: this.level, text: line.slice(entry[0].length) };
    }
    // Lines after an entry have its level, but for a traceback, which is always an error.
    if (line.startsWith("Traceback (most recent call last)")) {
      this.level = "error";
    }
    return { level: this.level, text: line };
  }
}
