import type * as tfl from '@tensorflow/tfjs-layers';
import type { Tf } from '../src/index.js';

/** As `@tensorflow/tfjs` does it: one object with the functions of both packages. */
export type WholeTf = Omit<Tf, 'default'> & Omit<typeof tfl, 'default'>;

export async function withLayers(tf: Tf): Promise<WholeTf> {
  return { ...tf, ...(await import('@tensorflow/tfjs-layers')) };
}
