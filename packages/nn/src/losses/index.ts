export { binaryCrossEntropy } from './binary-cross-entropy.js';
export { meanSquaredError } from './mean-squared-error.js';
