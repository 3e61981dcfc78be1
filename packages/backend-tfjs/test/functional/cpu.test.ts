// Registers the gradients of tf's own ops, which the losses here are made of.
import '@tensorflow/tfjs-layers';
import { cpuTf } from '../support/engines.js';
import { describeFunctional } from '../support/functional-cases.js';

describeFunctional(await cpuTf());
