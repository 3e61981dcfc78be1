import { wasmTf } from './engines.js';
import { describeLayers } from './layers-cases.js';
import { withLayers } from './layers-tf.js';

describeLayers(await withLayers(await wasmTf()));
