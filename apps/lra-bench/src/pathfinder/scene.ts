import { below, rowRandom } from '../data/row-random.js';
import { ahead, distance, distanceBetween, type Point, type Segment } from './geometry.js';
import { attempts, type PathfinderSettings } from './settings.js';

/** A path of paddles, in order. */
interface Snake {
  readonly paddles: readonly Segment[];
  /** Its two ends, where a disc may lie: a margin before the first paddle and after the last. */
  readonly ends: readonly [Point, Point];
}

/** What is on a picture, before it is drawn. */
export interface Scene {
  /** 1: the discs lie on the two ends of one path. */
  readonly label: 0 | 1;
  readonly markers: readonly [Point, Point];
  /** The two long paths, then the distractors. */
  readonly snakes: readonly Snake[];
  readonly margin: number;
}

/** Directions that a path may turn to, around the circle. */
const DIRECTIONS = 64;
/** Free pixels below which no further distractor is begun, as a share of all. */
const LEAST_FREE = 0.01;
/**
 * An end of a paddle keeps more than this many margins from the ends of paddles that do not follow it. Those that do are at
 * most two margins away, so a picture has one answer.
 */
const END_CLEARANCE = 2.25;

/** The scene of a row: drawn again and again until both long paths have their length. */
export function sceneOf(settings: PathfinderSettings, seed: number, split: number, row: number): Scene {
  const random = rowRandom(seed, split, row);
  while (true) {
    const scene = new Attempt(settings, random).scene();
    if (scene !== undefined) return scene;
  }
}

/** One attempt at a scene. */
class Attempt {
  readonly #settings: PathfinderSettings;
  readonly #random: () => number;
  readonly #margin: number;
  /** Of finished paths. */
  readonly #occupied: Segment[] = [];

  constructor(settings: PathfinderSettings, random: () => number) {
    this.#settings = settings;
    this.#random = random;
    const { margins } = settings;
    this.#margin = margins[below(random, margins.length)] as number;
  }

  scene(): Scene | undefined {
    const { side, seedDistance, contourLength, distractors, distractorLength } = this.#settings;
    const first = this.#pointWithin(2 * seedDistance, side - 2 * seedDistance);
    const second = ahead(first, this.#angle(), seedDistance);
    const snakes: Snake[] = [];
    for (const start of [first, second]) {
      const snake = this.#contour(start, contourLength);
      if (snake === undefined) return undefined;
      snakes.push(snake);
    }
    for (let made = 0; made < distractors && this.#freeShare() >= LEAST_FREE; made++) {
      const snake = this.#distractor(distractorLength);
      if (snake !== undefined) snakes.push(snake);
    }
    const [a, b] = snakes as [Snake, Snake];
    const label = this.#random() < 0.5 ? 1 : 0;
    const end = below(this.#random, 2);
    const from = a.ends[end] as Point;
    const to = label === 1 ? (a.ends[1 - end] as Point) : (b.ends[below(this.#random, 2)] as Point);
    return { label, markers: [from, to], snakes, margin: this.#margin };
  }

  #contour(start: Point, length: number): Snake | undefined {
    for (let attempt = 0; attempt < attempts.contour; attempt++) {
      const paddles = this.#grow(start, length);
      if (paddles.length === length) return this.#keep(paddles);
    }
    return undefined;
  }

  /** May be shorter than asked for. */
  #distractor(length: number): Snake | undefined {
    const { side, padding } = this.#settings;
    for (let attempt = 0; attempt < attempts.distractor; attempt++) {
      const paddles = this.#grow(this.#pointWithin(padding, side - padding), length);
      if (paddles.length > 0) return this.#keep(paddles);
    }
    return undefined;
  }

  /** Paddles from a point on, in the direction that chance gives, as many as there is room for. */
  #grow(start: Point, length: number): Segment[] {
    const paddles: Segment[] = [];
    let pivot = start;
    let angle: number | undefined;
    while (paddles.length < length) {
      const chosen = this.#turn(pivot, angle, paddles);
      if (chosen === undefined) break;
      paddles.push(this.#paddle(pivot, chosen));
      pivot = ahead(pivot, chosen, this.#step);
      angle = chosen;
    }
    return paddles;
  }

  /** The next direction among those with room: any at the beginning, then by the turn's weight. */
  #turn(pivot: Point, before: number | undefined, own: readonly Segment[]): number | undefined {
    const { continuity } = this.#settings;
    for (let attempt = 0; attempt < attempts.paddle; attempt++) {
      const offset = this.#angle();
      const angles: number[] = [];
      const weights: number[] = [];
      for (let at = 0; at < DIRECTIONS; at++) {
        const angle = offset + (2 * Math.PI * at) / DIRECTIONS;
        const weight = before === undefined ? 1 : turnWeight(angle - before, continuity);
        if (weight === 0 || !this.#hasRoom(this.#paddle(pivot, angle), pivot, angle, own)) continue;
        angles.push(angle);
        weights.push(weight);
      }
      if (angles.length === 0) continue;
      let left = this.#random() * weights.reduce((sum, weight) => sum + weight, 0);
      const at = weights.findIndex((weight) => {
        left -= weight;
        return left < 0;
      });
      return angles[Math.max(0, at)];
    }
    return undefined;
  }

  #hasRoom(paddle: Segment, pivot: Point, angle: number, own: readonly Segment[]): boolean {
    const { side, padding, paddleThickness } = this.#settings;
    const edge = padding + paddleThickness / 2;
    const isInside = ({ x, y }: Point): boolean =>
      x >= edge && y >= edge && x <= side - edge && y <= side - edge;
    // The tip as well: a disc may lie there.
    if (![paddle.a, paddle.b, ahead(pivot, angle, this.#step)].every(isInside)) return false;
    const reach = this.#settings.paddleLength + END_CLEARANCE * this.#margin + paddleThickness;
    const clearance = this.#margin + paddleThickness;
    const isClear = (other: Segment): boolean => {
      // Too far away to matter.
      if (distance(paddle.a, other.a) > 2 * reach) return true;
      if (distanceBetween(paddle, other) < clearance) return false;
      return endDistance(paddle, other) > END_CLEARANCE * this.#margin;
    };
    const previous = own.at(-1);
    return (
      own.slice(0, -1).every(isClear) &&
      this.#occupied.every(isClear) &&
      (previous === undefined || distanceBetween(paddle, previous) >= clearance)
    );
  }

  #keep(paddles: readonly Segment[]): Snake {
    this.#occupied.push(...paddles);
    const [first, last] = [paddles[0] as Segment, paddles.at(-1) as Segment];
    const beyond = (from: Point, to: Point): Point =>
      ahead(to, Math.atan2(to.y - from.y, to.x - from.x), this.#margin);
    return { paddles, ends: [beyond(first.b, first.a), beyond(last.a, last.b)] };
  }

  get #step(): number {
    return this.#settings.paddleLength + 2 * this.#margin;
  }

  #paddle(pivot: Point, angle: number): Segment {
    const { paddleLength } = this.#settings;
    return {
      a: ahead(pivot, angle, this.#margin),
      b: ahead(pivot, angle, this.#margin + paddleLength),
    };
  }

  #freeShare(): number {
    const { side, paddleLength, paddleThickness } = this.#settings;
    const width = paddleThickness + 2 * this.#margin;
    const each = (paddleLength + 2 * this.#margin) * width;
    return 1 - (this.#occupied.length * each) / side ** 2;
  }

  #pointWithin(low: number, high: number): Point {
    const coordinate = (): number => low + this.#random() * (high - low);
    return { x: coordinate(), y: coordinate() };
  }

  #angle(): number {
    return 2 * Math.PI * this.#random();
  }
}

function turnWeight(turn: number, continuity: number): number {
  const angle = Math.abs(Math.atan2(Math.sin(turn), Math.cos(turn)));
  return Math.max(0, Math.cos(Math.min(Math.PI / 2, continuity * angle))) ** 2;
}

/** Distance between the nearest ends of two paddles. */
function endDistance(one: Segment, other: Segment): number {
  return Math.min(
    distance(one.a, other.a),
    distance(one.a, other.b),
    distance(one.b, other.a),
    distance(one.b, other.b),
  );
}
