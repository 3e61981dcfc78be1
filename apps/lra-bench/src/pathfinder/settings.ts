/**
 * How a picture of Pathfinder is drawn; lengths are in pixels of the finished picture. The values are those that the
 * task's authors published for each size (contour length 14, the hard set); what they left at the generator's default is
 * at that default here.
 */
export interface PathfinderSettings {
  /** Pixels on each side. */
  readonly side: number;
  /** Border that stays free. */
  readonly padding: number;
  /** Pictures are drawn this much larger, and reduced with a Lanczos filter. */
  readonly antialias: number;
  /** Length and thickness of a dash, a "paddle". */
  readonly paddleLength: number;
  readonly paddleThickness: number;
  /** Free space before and after a paddle; a picture draws one of the values. */
  readonly margins: readonly number[];
  /** Distance between the starts of the two long paths; the first start is two of them away from every border. */
  readonly seedDistance: number;
  /** Radius of the two discs. */
  readonly markerRadius: number;
  /** Paddles of each of the two long paths. */
  readonly contourLength: number;
  /** Most paddles of a distractor. */
  readonly distractorLength: number;
  readonly distractors: number;
  /**
   * How straight paths are: a turn by an angle has the weight max(0, cos(min(pi / 2, continuity * |angle|)))^2.
   */
  readonly continuity: number;
  /** Brightness of paths relative to discs, before each picture is stretched to its own black and white. */
  readonly snakeContrast: number;
  readonly paddleContrast: number;
}

/** The settings of the two tasks. */
export const pathfinderSettings: { readonly [task in 'pathfinder' | 'path-x']: PathfinderSettings } = {
  pathfinder: {
    side: 32,
    padding: 1,
    antialias: 2,
    paddleLength: 2,
    paddleThickness: 0.5,
    margins: [1],
    seedDistance: 7,
    markerRadius: 1.5,
    contourLength: 14,
    distractorLength: 4,
    distractors: 5,
    continuity: 1,
    snakeContrast: 2,
    paddleContrast: 0.75,
  },
  'path-x': {
    side: 128,
    padding: 1,
    antialias: 2,
    paddleLength: 5,
    paddleThickness: 1.5,
    margins: [2, 3],
    seedDistance: 20,
    markerRadius: 3,
    contourLength: 14,
    distractorLength: 4,
    distractors: 8,
    continuity: 1.8,
    snakeContrast: 0.9,
    paddleContrast: 1,
  },
};

/** Attempts before something is given up, as published. */
export const attempts: { readonly contour: number; readonly distractor: number; readonly paddle: number } = {
  contour: 4,
  distractor: 4,
  paddle: 2,
};
