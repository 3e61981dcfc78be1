export interface Point {
  readonly x: number;
  readonly y: number;
}

/** A straight line from a to b. */
export interface Segment {
  readonly a: Point;
  readonly b: Point;
}

export function ahead(from: Point, angle: number, distance: number): Point {
  return { x: from.x + distance * Math.cos(angle), y: from.y + distance * Math.sin(angle) };
}

export function distance(p: Point, q: Point): number {
  return Math.hypot(p.x - q.x, p.y - q.y);
}

/** Distance of a point from the nearest point of a segment. */
export function distanceTo({ a, b }: Segment, p: Point): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const square = dx * dx + dy * dy;
  const along = square === 0 ? 0 : ((p.x - a.x) * dx + (p.y - a.y) * dy) / square;
  const t = Math.min(1, Math.max(0, along));
  return Math.hypot(p.x - a.x - t * dx, p.y - a.y - t * dy);
}

/** Distance between the nearest points of two segments: 0 if they cross. */
export function distanceBetween(one: Segment, other: Segment): number {
  if (cross(one, other)) return 0;
  return Math.min(
    distanceTo(one, other.a),
    distanceTo(one, other.b),
    distanceTo(other, one.a),
    distanceTo(other, one.b),
  );
}

function cross({ a, b }: Segment, { a: c, b: d }: Segment): boolean {
  const side = (p: Point, q: Point, r: Point): number =>
    Math.sign((q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x));
  return side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0;
}
