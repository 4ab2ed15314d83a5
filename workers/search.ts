/** Piscina entry of the threads that look through messages. */
import { type SearchResult, type SearchTask, searchChunks } from '../src/store/search/chunk-search.ts';

export default (task: SearchTask): SearchResult[] => searchChunks(task);
