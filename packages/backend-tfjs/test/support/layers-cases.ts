import { describeModels } from './layers-models.js';
import { describeOutputs } from './layers-outputs.js';
import { describeRefusals } from './layers-refusals.js';
import type { WholeTf } from './layers-tf.js';

/** The Keras-style layers on whatever engine `tf` runs. */
export function describeLayers(tf: WholeTf): void {
  describeOutputs(tf);
  describeModels(tf);
  describeRefusals(tf);
}
