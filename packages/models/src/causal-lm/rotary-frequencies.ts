/** Rotary positions: pair i of a head turns by position * base ** (-2 i / headDim), which a scaling may slow down. */
export interface RotaryConfig {
  readonly base: number;
  readonly scaling?: RotaryScaling;
}

/** Longer texts than a model was first trained for: all pairs slower, or the slow ones only (Llama 3.1). */
export type RotaryScaling =
  | { readonly kind: 'linear'; readonly factor: number }
  | {
      readonly kind: 'llama3';
      readonly factor: number;
      /** Pairs that turn less than so many times within `originalPositions` are slowed down by the factor. */
      readonly lowFactor: number;
      /** Those that turn more than so many times stay as they are; between the two the change is gradual. */
      readonly highFactor: number;
      readonly originalPositions: number;
    };

/** Radians per position of each pair: [headDim / 2]. */
export function rotaryFrequencies({ base, scaling }: RotaryConfig, headDim: number): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, pair) =>
    scaled(base ** ((-2 * pair) / headDim), scaling),
  );
}

function scaled(frequency: number, scaling: RotaryScaling | undefined): number {
  if (scaling === undefined) return frequency;
  if (scaling.kind === 'linear') return frequency / scaling.factor;
  const { factor, lowFactor, highFactor, originalPositions } = scaling;
  const turns = (originalPositions * frequency) / (2 * Math.PI);
  const share = Math.min(1, Math.max(0, (turns - lowFactor) / (highFactor - lowFactor)));
  return (1 - share) * (frequency / factor) + share * frequency;
}
