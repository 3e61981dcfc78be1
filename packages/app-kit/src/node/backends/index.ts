export { type ChooseOptions, type ChosenBackend, chooseBackend } from './choose-backend.js';
export { type LoadedTf, loadTf } from './load-tf.js';
