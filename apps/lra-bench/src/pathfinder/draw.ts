import { distance, distanceTo, type Point, type Segment } from './geometry.js';
import type { Scene } from './scene.js';
import type { PathfinderSettings } from './settings.js';

/** The picture of a scene: grey levels, row by row, from 0 for the background to 255 for its own brightest. */
export function drawScene({ snakes, markers }: Scene, settings: PathfinderSettings): Uint8Array {
  const { side, antialias, paddleThickness, markerRadius, snakeContrast, paddleContrast } = settings;
  const canvas = new Canvas(side, antialias);
  const brightness = Math.min(1, snakeContrast * paddleContrast);
  for (const { paddles } of snakes)
    for (const paddle of paddles) canvas.line(paddle, paddleThickness, brightness);
  for (const marker of markers) canvas.disc(marker, markerRadius, 1);
  return stretched(canvas.reduced());
}

/** A square of brightness from 0 to 1, larger than the picture by the antialiasing factor. What overlaps keeps the maximum. */
class Canvas {
  readonly #scale: number;
  readonly #extent: number;
  readonly #values: Float64Array;

  constructor(side: number, scale: number) {
    this.#scale = scale;
    this.#extent = side * scale;
    this.#values = new Float64Array(this.#extent ** 2);
  }

  line(segment: Segment, thickness: number, brightness: number): void {
    const { a, b } = segment;
    const around = thickness / 2 + 1;
    this.#shape(
      { x: Math.min(a.x, b.x) - around, y: Math.min(a.y, b.y) - around },
      { x: Math.max(a.x, b.x) + around, y: Math.max(a.y, b.y) + around },
      (point) => thickness / 2 - distanceTo(segment, point),
      brightness,
    );
  }

  disc(centre: Point, radius: number, brightness: number): void {
    this.#shape(
      { x: centre.x - radius - 1, y: centre.y - radius - 1 },
      { x: centre.x + radius + 1, y: centre.y + radius + 1 },
      (point) => radius - distance(centre, point),
      brightness,
    );
  }

  /** @param depth how far a point is inside the shape; negative outside */
  #shape(low: Point, high: Point, depth: (point: Point) => number, brightness: number): void {
    const clamp = (value: number): number => Math.min(this.#extent, Math.max(0, value));
    const [x0, x1] = [clamp(Math.floor(low.x * this.#scale)), clamp(Math.ceil(high.x * this.#scale))];
    const [y0, y1] = [clamp(Math.floor(low.y * this.#scale)), clamp(Math.ceil(high.y * this.#scale))];
    for (let y = y0; y < y1; y++) {
      for (let x = x0; x < x1; x++) {
        const inside = depth({ x: (x + 0.5) / this.#scale, y: (y + 0.5) / this.#scale });
        // An edge is one pixel of the canvas wide.
        const covered = Math.min(1, Math.max(0, 0.5 + inside * this.#scale)) * brightness;
        const at = y * this.#extent + x;
        this.#values[at] = Math.max(this.#values[at] as number, covered);
      }
    }
  }

  /** At the size of the picture, by a Lanczos filter of three lobes: rows, then columns. */
  reduced(): Float64Array {
    const turnedRows = reduceRows(this.#values, this.#extent, this.#scale);
    return reduceRows(turnedRows, this.#extent, this.#scale);
  }
}

const LOBES = 3;

/** Rows of a square (or of an oblong) made shorter by a factor, and the result transposed. */
function reduceRows(values: Float64Array, extent: number, scale: number): Float64Array {
  const side = extent / scale;
  const rows = values.length / extent;
  const reach = LOBES * scale;
  const result = new Float64Array(rows * side);
  for (let x = 0; x < side; x++) {
    const centre = (x + 0.5) * scale;
    const from = Math.max(0, Math.floor(centre - reach));
    const to = Math.min(extent, Math.ceil(centre + reach));
    const weights = Array.from({ length: to - from }, (_, at) => lanczos((from + at + 0.5 - centre) / scale));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (const [at, weight] of weights.entries())
        sum += weight * (values[row * extent + from + at] as number);
      result[x * rows + row] = sum / total;
    }
  }
  return result;
}

function lanczos(x: number): number {
  if (x === 0) return 1;
  if (Math.abs(x) >= LOBES) return 0;
  const angle = Math.PI * x;
  return (LOBES * Math.sin(angle) * Math.sin(angle / LOBES)) / angle ** 2;
}

/** The filter swings below 0 beside an edge; that is cut off, so that the background stays black. */
function stretched(values: Float64Array): Uint8Array {
  let high = 0;
  for (const value of values) high = Math.max(high, value);
  return Uint8Array.from(values, (value) => Math.round((255 * Math.max(0, value)) / high));
}
