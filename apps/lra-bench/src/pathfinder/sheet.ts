import type { Picture } from '../images/png.js';
import { drawScene } from './draw.js';
import type { Point } from './geometry.js';
import { ahead } from './geometry.js';
import type { Scene } from './scene.js';
import type { PathfinderSettings } from './settings.js';

const COLUMNS = 8;
const GAP = 4;
/** Pictures are shown at least this large. */
const SHOWN = 128;

type Colour = readonly [red: number, green: number, blue: number];

const PAPER: Colour = [64, 64, 72];
const JOINED: Colour = [60, 200, 90];
const APART: Colour = [230, 90, 70];
const OTHER: Colour = [80, 140, 255];

/** Pictures side by side, enlarged. */
export function contactSheet(scenes: readonly Scene[], settings: PathfinderSettings): Picture {
  return sheetOf(scenes, settings, () => {});
}

/**
 * The answers to a contact sheet: frames are green where the discs are joined and red where not; the two long paths are
 * drawn over in green (or red) and blue, from the first disc on.
 */
export function answerKey(scenes: readonly Scene[], settings: PathfinderSettings): Picture {
  return sheetOf(scenes, settings, (scene, cell) => {
    const colour = scene.label === 1 ? JOINED : APART;
    cell.frame(colour);
    for (const [at, { paddles }] of scene.snakes.slice(0, 2).entries()) {
      for (const [index, { a, b }] of paddles.entries()) {
        const next = paddles[index + 1];
        const to = next === undefined ? b : next.a;
        cell.line(a, to, at === 0 ? colour : OTHER);
      }
    }
  });
}

interface Cell {
  frame(colour: Colour): void;
  line(from: Point, to: Point, colour: Colour): void;
}

function sheetOf(
  scenes: readonly Scene[],
  settings: PathfinderSettings,
  annotate: (scene: Scene, cell: Cell) => void,
): Picture {
  const { side } = settings;
  const zoom = Math.max(1, Math.round(SHOWN / side));
  const shown = side * zoom;
  const columns = Math.min(COLUMNS, scenes.length);
  const width = GAP + columns * (shown + GAP);
  const height = GAP + Math.ceil(scenes.length / columns) * (shown + GAP);
  const data = new Uint8Array(3 * width * height);
  const put = (x: number, y: number, colour: Colour): void => data.set(colour, 3 * (y * width + x));
  for (let at = 0; at < width * height; at++) data.set(PAPER, 3 * at);
  for (const [index, scene] of scenes.entries()) {
    const left = GAP + (index % columns) * (shown + GAP);
    const top = GAP + Math.floor(index / columns) * (shown + GAP);
    const pixels = drawScene(scene, settings);
    for (let y = 0; y < shown; y++) {
      for (let x = 0; x < shown; x++) {
        const level = pixels[Math.floor(y / zoom) * side + Math.floor(x / zoom)] as number;
        put(left + x, top + y, [level, level, level]);
      }
    }
    annotate(scene, {
      frame: (colour) => {
        for (let at = -GAP / 2; at < shown + GAP / 2; at++) {
          for (let depth = 1; depth <= GAP / 2; depth++) {
            put(left + at, top - depth, colour);
            put(left + at, top + shown - 1 + depth, colour);
            put(left - depth, top + at, colour);
            put(left + shown - 1 + depth, top + at, colour);
          }
        }
      },
      line: (from, to, colour) => {
        const long = Math.hypot(to.x - from.x, to.y - from.y);
        const angle = Math.atan2(to.y - from.y, to.x - from.x);
        for (let along = 0; along <= long * zoom; along++) {
          const { x, y } = ahead(from, angle, along / zoom);
          put(left + clamp(Math.floor(x * zoom), shown), top + clamp(Math.floor(y * zoom), shown), colour);
        }
      },
    });
  }
  return { width, height, channels: 3, data };
}

function clamp(value: number, end: number): number {
  return Math.min(end - 1, Math.max(0, value));
}
