import type { Network } from "./network";

/** Ops in a row that run in one module. */
export interface Run {
  /** The module's path, down to the depth that was asked for. */
  readonly path: string;
  /** Its last part. */
  readonly label: string;
  readonly from: number;
  /** The first op after it. */
  readonly to: number;
  readonly introduced: number;
}

/** The first `depth` parts of a module's path. */
export function prefix(module: string, depth: number): string {
  let end = -1;
  for (let i = 0; i < depth; i++) {
    end = module.indexOf(".", end + 1);
    if (end < 0) {
      return module;
    }
  }
  return module.slice(0, end);
}

/** The lowest of some ratios; NaN where there is none. */
export function lowest(values: Float32Array, from: number, to: number): number {
  let low = NaN;
  for (let i = from; i < to; i++) {
    const value = values[i] as number;
    if (value < low || low !== low) {
      low = value;
    }
  }
  return low;
}

/** One lane of modules per depth; depths at which one module has all ops are left out. */
export function lanes(network: Network, most: number): Run[][] {
  const found: Run[][] = [];
  for (let depth = 1; found.length < most; depth++) {
    const lane = runs(network, depth);
    const [first] = lane;
    if (!first) {
      break;
    }
    if (lane.length > 1 || first.to - first.from < network.ops.length) {
      found.push(lane);
    }
  }
  return found;
}

/** The modules that are `depth` deep; ops of shallower ones leave gaps. */
function runs(network: Network, depth: number): Run[] {
  const found: Run[] = [];
  let start = -1;
  let path = "";
  const close = (to: number): void => {
    if (start >= 0) {
      const introduced = lowest(network.introduced, start, to);
      found.push({
        path,
        label: path.slice(path.lastIndexOf(".") + 1),
        from: start,
        to,
        introduced,
      });
    }
    start = -1;
  };
  network.ops.forEach((op, index) => {
    const own = isDeep(op.module, depth) ? prefix(op.module, depth) : "";
    if (start >= 0 && own === path) {
      return;
    }
    close(index);
    if (own) {
      start = index;
      path = own;
    }
  });
  close(network.ops.length);
  return found;
}

function isDeep(module: string, depth: number): boolean {
  let at = -1;
  for (let i = 1; i < depth; i++) {
    at = module.indexOf(".", at + 1);
    if (at < 0) {
      return false;
    }
  }
  return module.length > 0;
}

/** Ops of a block that share a cell of the heat map. */
export interface Cell {
  readonly ops: readonly number[];
  /** The op that introduces the most. */
  readonly worst: number;
  readonly introduced: number;
}

/** The ops of one module, wherever they run. */
export interface Block {
  readonly name: string;
  readonly ops: readonly number[];
  readonly introduced: number;
  readonly accumulated: number;
  readonly cells: readonly Cell[];
}

const CELLS = 48;
const FEW = 8;
const MANY = 40;
const MOST = 160;

/** The modules down to the depth at which they all fit a screen, or deeper if those are few. */
export function blocks(network: Network): Block[] {
  let groups = grouped(network, 1);
  for (let depth = 2; depth <= 5; depth++) {
    const deeper = grouped(network, depth);
    if (deeper.size > MANY && (groups.size >= FEW || deeper.size > MOST)) {
      break;
    }
    groups = deeper;
  }
  return [...groups].slice(0, MOST).map(([name, ops]) => block(network, name, ops));
}

function grouped(network: Network, depth: number): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  network.ops.forEach((op, index) => {
    const name = prefix(op.module, depth);
    const group = groups.get(name);
    if (group) {
      group.push(index);
    } else {
      groups.set(name, [index]);
    }
  });
  return groups;
}

function block(network: Network, name: string, ops: readonly number[]): Block {
  const size = Math.max(1, Math.ceil(ops.length / CELLS));
  const cells: Cell[] = [];
  for (let start = 0; start < ops.length; start += size) {
    const part = ops.slice(start, start + size);
    const worst = worstOf(network.introduced, part);
    cells.push({ ops: part, worst, introduced: network.introduced[worst] ?? NaN });
  }
  const value = (series: Float32Array): number => series[worstOf(series, ops)] ?? NaN;
  return {
    name,
    ops,
    introduced: value(network.introduced),
    accumulated: value(network.accumulated),
    cells,
  };
}

function worstOf(series: Float32Array, ops: readonly number[]): number {
  let at = ops[0] ?? 0;
  let low = Infinity;
  for (const index of ops) {
    const value = series[index] as number;
    if (value < low) {
      low = value;
      at = index;
    }
  }
  return at;
}
