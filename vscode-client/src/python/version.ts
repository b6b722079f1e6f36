/** Versions of Python, as interpreters state them. */

/** The oldest Python that the server runs on. */
export const OLDEST: Version = [3, 10];

export type Version = readonly [major: number, minor: number];

/** Prints what `parseVersion` reads, on every Python that there has been. */
export const PRINT_VERSION = 'import sys; print("handlens %d.%d" % sys.version_info[:2])';

/** Reads the version from the output of `PRINT_VERSION`; undefined if it has none. */
export function parseVersion(output: string): Version | undefined {
  // Wrappers and sitecustomize modules may print lines of their own.
  const found = /^handlens (\d+)\.(\d+)\s*$/m.exec(output);
  return found ? [Number(found[1]), Number(found[2])] : undefined;
}

export function isRecentEnough([major, minor]: Version): boolean {
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

export function formatVersion(version: Version): string {
  return version.join(".");
}
