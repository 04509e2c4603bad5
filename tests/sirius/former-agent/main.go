// Stands for the former agent's source: what is started from here was not replaced.
package main

func main() { println("the former agent runs") }
