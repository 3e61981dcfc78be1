import type { Point, Segment } from '../../src/pathfinder/geometry.js';

/** A drawing of dashes, black on white, `scale` pixels per unit. */
export class Drawing {
  readonly #scale: number;
  readonly #width: number;
  readonly #ink: Uint8Array;

  constructor(side: number, scale: number) {
    this.#scale = scale;
    this.#width = side * scale;
    this.#ink = new Uint8Array(this.#width ** 2);
  }

  /** Every pixel within half the thickness of the dash. */
  dash({ a, b }: Segment, thickness: number): void {
    const reach = thickness / 2;
    for (
      let y = Math.floor((Math.min(a.y, b.y) - reach) * this.#scale);
      y / this.#scale <= Math.max(a.y, b.y) + reach;
      y++
    ) {
      for (
        let x = Math.floor((Math.min(a.x, b.x) - reach) * this.#scale);
        x / this.#scale <= Math.max(a.x, b.x) + reach;
        x++
      ) {
        const point = { x: (x + 0.5) / this.#scale, y: (y + 0.5) / this.#scale };
        if (x < 0 || y < 0 || x >= this.#width || y >= this.#width) continue;
        if (far(a, b, point) <= reach) this.#ink[y * this.#width + x] = 1;
      }
    }
  }

  /** The ends of each patch of connected ink, along its longest direction: all that a reader of the picture knows. */
  dashes(thickness: number): readonly Segment[] {
    const seen = new Uint8Array(this.#ink.length);
    const found: Segment[] = [];
    for (let at = 0; at < this.#ink.length; at++) {
      if (this.#ink[at] === 1 && seen[at] === 0) found.push(this.#endsOf(this.#patch(at, seen), thickness));
    }
    return found;
  }

  #patch(from: number, seen: Uint8Array): number[] {
    const patch = [from];
    seen[from] = 1;
    for (const at of patch) {
      for (const next of [at - 1, at + 1, at - this.#width, at + this.#width]) {
        if (this.#ink[next] !== 1 || seen[next] === 1) continue;
        seen[next] = 1;
        patch.push(next);
      }
    }
    return patch;
  }

  #endsOf(patch: readonly number[], thickness: number): Segment {
    const points = patch.map((at) => ({
      x: ((at % this.#width) + 0.5) / this.#scale,
      y: (Math.floor(at / this.#width) + 0.5) / this.#scale,
    }));
    const mean = (of: (point: Point) => number): number =>
      points.reduce((sum, point) => sum + of(point), 0) / points.length;
    const [cx, cy] = [mean(({ x }) => x), mean(({ y }) => y)];
    const [xx, yy, xy] = [
      mean(({ x }) => (x - cx) ** 2),
      mean(({ y }) => (y - cy) ** 2),
      mean(({ x, y }) => (x - cx) * (y - cy)),
    ];
    const angle = Math.atan2(2 * xy, xx - yy) / 2;
    const along = points.map(({ x, y }) => (x - cx) * Math.cos(angle) + (y - cy) * Math.sin(angle));
    const end = (at: number): Point => ({ x: cx + at * Math.cos(angle), y: cy + at * Math.sin(angle) });
    return { a: end(Math.min(...along) + thickness / 2), b: end(Math.max(...along) - thickness / 2) };
  }
}

/**
 * Whether a path of dashes leads from one disc to the other: from dash to dash over gaps of at most `gap`, in at one end
 * and out at the other.
 */
export function isJoined(
  dashes: readonly Segment[],
  from: Point,
  to: Point,
  reach: number,
  gap: number,
): boolean {
  const near = (point: Point, distance: number): { readonly dash: number; readonly end: 'a' | 'b' }[] =>
    dashes.flatMap((dash, at) =>
      (['a', 'b'] as const)
        .filter((end) => Math.hypot(dash[end].x - point.x, dash[end].y - point.y) <= distance)
        .map((end) => ({ dash: at, end })),
    );
  const other = { a: 'b', b: 'a' } as const;
  const goals = new Set(near(to, reach).map(({ dash, end }) => `${dash}${end}`));
  const queue = near(from, reach);
  const seen = new Set<string>();
  for (const { dash, end } of queue) {
    if (seen.has(`${dash}${end}`)) continue;
    seen.add(`${dash}${end}`);
    const out = other[end];
    if (goals.has(`${dash}${out}`)) return true;
    queue.push(...near((dashes[dash] as Segment)[out], gap).filter((next) => next.dash !== dash));
  }
  return false;
}

function far(a: Point, b: Point, p: Point): number {
  const length = Math.hypot(b.x - a.x, b.y - a.y);
  const [ux, uy] = [(b.x - a.x) / length, (b.y - a.y) / length];
  const along = Math.min(length, Math.max(0, (p.x - a.x) * ux + (p.y - a.y) * uy));
  return Math.hypot(p.x - a.x - along * ux, p.y - a.y - along * uy);
}
