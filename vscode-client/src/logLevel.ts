/** How a line of the server's log is to be shown. */

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

/** Tells the level of each line of standard error, and strips what the channel writes itself. */
export class LogLines {
  private level: Level = "info";

  read(line: string): { level: Level; text: string } {
    const entry = ENTRY.exec(line);
    if (entry) {
      this.level = LEVELS[entry[1] ?? "INFO"] ?? "info";
      return { level: this.level, text: line.slice(entry[0].length) };
    }
    // What follows an entry belongs to it; a traceback is an error whatever it follows.
    if (line.startsWith("Traceback (most recent call last)")) {
      this.level = "error";
    }
    return { level: this.level, text: line };
  }
}
