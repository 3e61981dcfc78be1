import { cpuTf } from '../support/engines.js';
import { describeLayers } from '../support/layers-cases.js';
import { withLayers } from '../support/layers-tf.js';

describeLayers(await withLayers(await cpuTf()));
