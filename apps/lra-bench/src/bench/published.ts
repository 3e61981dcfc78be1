import type { Direction, StudyName, WayName } from './result.js';

/** A point of the paper's figures: forward and backward unless the study runs forward only. */
export interface PaperPoint {
  readonly way: WayName;
  readonly x: number;
  readonly gibibytes: number;
  readonly seconds: number;
}

type Line = readonly (readonly [x: number, gibibytes: number, seconds: number])[];

/**
 * Read off the figures of Gupta, Dar, Goodman, Ciprut and Berant (2021), PyTorch in fp32; they do not name the GPU. "whole"
 * is the figures' vanilla, "exact" their query chunking.
 */
const lines: { readonly [study in StudyName]: { readonly [way in WayName]?: Line } } = {
  attention: {
    whole: [
      [2048, 1.06, 0.179],
      [4096, 4.82, 0.223],
      [6144, 10.74, 0.265],
      [8192, 19.02, 0.303],
      [10_240, 29.65, 0.377],
    ],
    exact: [
      [2048, 0.86, 0.204],
      [4096, 1.69, 0.224],
      [8192, 3.37, 0.34],
      [12_288, 5.18, 0.52],
      [16_384, 6.9, 0.77],
      [20_480, 8.85, 1.108],
      [30_720, 13.26, 2.287],
      [40_960, 18.15, 3.929],
      [51_200, 23.26, 6.034],
      [61_440, 28.62, 8.589],
    ],
    'top-k': [
      [2048, 0.24, 0.184],
      [4096, 0.58, 0.219],
      [8192, 0.98, 0.31],
      [12_288, 1.4, 0.468],
      [16_384, 2.63, 0.653],
      [20_480, 3.23, 0.892],
      [30_720, 4.83, 1.784],
      [40_960, 6.43, 3.087],
      [51_200, 8.03, 4.974],
      [61_440, 9.63, 7.087],
    ],
    performer: [
      [2048, 0.34, 0.213],
      [4096, 0.67, 0.225],
      [8192, 1.31, 0.243],
      [12_288, 1.96, 0.27],
      [16_384, 2.61, 0.303],
      [20_480, 3.24, 0.304],
      [30_720, 4.79, 0.366],
      [40_960, 6.35, 0.441],
      [51_200, 7.93, 0.479],
      [61_440, 9.51, 0.559],
    ],
  },
  'feed-forward': {
    whole: [
      [2048, 9.27, 0.458],
      [4096, 17.78, 0.736],
      [6144, 26.29, 1],
    ],
    exact: [
      [2048, 6.73, 0.669],
      [4096, 7.09, 1.001],
      [8192, 7.99, 1.647],
      [16_384, 10.41, 2.957],
      [32_768, 17.26, 5.573],
      [49_152, 21.35, 8.229],
      [65_536, 27.94, 10.761],
    ],
    'top-k': [
      [2048, 7.78, 0.657],
      [4096, 7.9, 0.963],
      [8192, 8.18, 1.533],
      [16_384, 9.73, 2.696],
      [32_768, 9.57, 5.055],
      [49_152, 13.16, 7.562],
      [65_536, 12.26, 9.862],
    ],
  },
  model: {
    whole: [[2048, 9.24, 0.338]],
    exact: [
      [2048, 1.85, 0.377],
      [4096, 3.43, 0.795],
      [8192, 6.61, 2.152],
      [16_384, 14.36, 7.482],
      [28_672, 28.47, 22.468],
    ],
    'top-k': [
      [2048, 1.4, 0.441],
      [4096, 2.46, 0.785],
      [8192, 5.23, 1.901],
      [16_384, 11.17, 5.999],
      [32_768, 27.99, 21.865],
    ],
    performer: [
      [2048, 3.48, 0.515],
      [4096, 6.62, 0.715],
      [8192, 12.62, 1.016],
      [16_384, 24.98, 1.62],
      [18_432, 28.09, 1.797],
    ],
  },
  'query-chunk': {
    exact: [
      [128, 2.27, 8.61],
      [256, 3.4, 5.25],
      [512, 6.02, 3.56],
      [1024, 10.9, 2.73],
      [2048, 20.65, 2.69],
    ],
  },
};

/** The paper's points of a study, in the direction that it measured. */
export function paperPoints(study: StudyName, direction: Direction): readonly PaperPoint[] {
  if ((study === 'query-chunk') !== (direction === 'forward')) return [];
  return Object.entries(lines[study]).flatMap(([way, line]) =>
    line.map(([x, gibibytes, seconds]) => ({ way: way as WayName, x, gibibytes, seconds })),
  );
}
