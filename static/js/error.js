/* The page that stands when the database does not: the kill switch must work on it too. */
import { killButtons } from "./kill.js";

killButtons(document);
